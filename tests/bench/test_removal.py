"""The baseline that removes suspects before a second training."""

from __future__ import annotations

import pytest
import torch
from bench_commands import Bright
from torch.utils.data import TensorDataset

from dynaprune import TrimmedLoss
from dynaprune.bench.recipe import Recipe
from dynaprune.bench.removal import budget_of, removed_share, second_training
from dynaprune.bench.results import Results
from dynaprune.bench.runner import plan_runs, run_all
from dynaprune.bench.variants import VARIANTS
from dynaprune.methods.trimmed_loss import REFRESH, START


@pytest.mark.parametrize("epochs", [4, 9, 20])
def test_the_budget_is_what_trimming_that_share_saves(epochs):
    train = TrimmedLoss(range(1000), epochs, trim=0.3)
    assert (train.start, train.refresh) == (START, REFRESH)
    visits = 0
    for _ in range(epochs):
        for indices in train.batches(100):
            visits += len(indices)
            train.update(indices.float())
    assert visits == round((1 - budget_of(0.3, epochs)) * 1000 * epochs)
    assert removed_share(budget_of(0.3, epochs), epochs) == pytest.approx(0.3)


@pytest.mark.parametrize(("saving", "epochs"), [(0.7, 20), (0.1, 1)])
def test_not_all_samples_can_be_removed(saving, epochs):
    with pytest.raises(ValueError, match=f"a saving of {saving} would remove all samples, in"):
        removed_share(saving, epochs)


class Mislabelled(Bright):
    """Of 120 images 24 have the label of another class."""

    def load(self, root):
        super().load(root)
        images, labels = self.train.tensors
        self.is_wrong = torch.arange(120) % 5 == 0
        self.train = TensorDataset(images, (labels + self.is_wrong) % 3)


def test_the_second_training_is_without_suspects():
    task = Mislabelled()
    task.load(None)
    saving = budget_of(0.2, 8)
    first = VARIANTS["removal"].make(task.train, 8, 3, saving)
    for _ in range(8):
        for indices in first.batches(8):
            first.update(task.is_wrong[indices].float() + 0.1)
    second = second_training(first, task.train, 8, saving)
    assert len(second) == 96
    kept = torch.cat(list(second.batches(8)))
    assert sorted(kept.tolist()) == list(range(96))
    labels = torch.stack([second.dataset[int(index)][1] for index in kept])
    images = torch.stack([second.dataset[int(index)][0] for index in kept])
    brightness = (images.float().mean((1, 2, 3)) - 30) / 90
    assert torch.equal(brightness.round().long(), labels)  # none of the wrong ones is left


def test_its_cost_is_that_of_two_trainings(tmp_path):
    task = Mislabelled()
    task.load(None)
    recipe = Recipe(epochs=8, batch_size=8, learning_rate=0.05)
    saving = budget_of(0.2, 8)
    plan = plan_runs(task, "as-is", ["removal"], [saving], [0], recipe)
    lines = {line["variant"]: line for _, line in run_all(task, plan.runs, Results(tmp_path))}
    assert lines["full"]["visits"] == 960
    assert lines["removal"]["visits"] == 960 + 8 * 96  # 2 − 0.2
    assert lines["removal"]["full_visits"] == 960
    too_many = plan_runs(task, "as-is", ["removal"], [0.7], [0], recipe)
    assert [planned.key.variant for planned in too_many.runs] == ["full"]
    assert "removal for bright: a saving of 0.7 would remove all" in too_many.left_out[0]
