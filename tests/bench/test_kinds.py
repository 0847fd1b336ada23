"""The regime with rare kinds that have no label."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from dynaprune.bench.kinds import Kinds, accuracies, judged_by_kind, with_rare_kinds
from dynaprune.bench.recipe import Recipe
from dynaprune.bench.regimes import REGIMES
from dynaprune.bench.results import Results
from dynaprune.bench.runner import plan_runs, run_all
from dynaprune.bench.tasks.classification import Classification

HIDDEN = REGIMES["hidden-rare"]


class Numbers(Classification):
    """Six kinds of 100 samples each, whose inputs tell the kind; kinds 0 to 2 are class 0."""

    name, kind, dataset, model = "numbers", "classification", "numbers", "linear"
    recipe = Recipe(epochs=2, batch_size=10, learning_rate=0.1)

    def load(self, root):
        fine = torch.arange(600) % 6
        self.train = TensorDataset(nn.functional.one_hot(fine).float(), fine)
        self.test = TensorDataset(*(part[:60] for part in self.train.tensors))
        self.kinds = Kinds(fine, fine[:60], torch.tensor([0, 0, 0, 1, 1, 1]))

    def make_model(self):
        return nn.Linear(6, self.num_classes)


@pytest.fixture
def numbers():
    task = Numbers()
    task.load(None)
    return task


def test_kinds_of_a_class_are_long_tailed_and_labels_do_not_tell_them(numbers):
    inputs, labels = HIDDEN.samples(numbers, 0).tensors
    kinds = inputs.argmax(1)
    assert labels.tolist() == [0 if kind < 3 else 1 for kind in kinds.tolist()]
    counts = torch.bincount(kinds, minlength=6)
    # 100 · 0.02^(r/2)
    assert sorted(counts[:3].tolist()) == sorted(counts[3:].tolist()) == [2, 14, 100]
    assert torch.equal(HIDDEN.samples(numbers, 0).tensors[0], inputs)
    others = [torch.bincount(HIDDEN.samples(numbers, s).tensors[0].argmax(1)) for s in range(1, 9)]
    assert len({tuple(each.tolist()) for each in [counts, *others]}) > 1  # other kinds are rare


def test_kinds_across_classes_keep_the_labels(numbers):
    people = torch.arange(600) // 6 % 4
    numbers.kinds = Kinds(people, people[:60])
    inputs, labels = HIDDEN.samples(numbers, 0).tensors
    assert torch.equal(labels, inputs.argmax(1))
    # each of the four keeps 0.02^(r/3) of its 150 samples
    assert len(labels) == sum(round(150 * 0.02 ** (rank / 3)) for rank in range(4))


def test_the_metric_counts_kinds_alike(numbers):
    numbers.kinds = Kinds(numbers.kinds.train, torch.tensor([0] * 50 + [3] * 10), torch.arange(6))
    judged = judged_by_kind(numbers, numbers.kinds)
    judged.is_right = lambda model: torch.arange(60) < 55
    assert judged.evaluate(nn.Identity()) == pytest.approx((1 + 0.5) / 2)
    assert judged.other_metrics(nn.Identity()) == {"worst kinds": 0.5}


def test_accuracy_by_kind():
    is_right = torch.tensor([True, False, True, True])
    assert accuracies(is_right, torch.tensor([0, 0, 2, 2])).tolist() == [0.5, 1.0]


def test_it_learns_the_classes_and_leaves_the_task_as_it_was(numbers):
    before = copy.copy(vars(numbers))
    judged = HIDDEN.task(numbers, HIDDEN.samples(numbers, 0))
    assert judged.make_model().out_features == 2
    assert judged.test.tensors[1].unique().tolist() == [0, 1]
    assert type(numbers) is Numbers
    assert vars(numbers) == before
    assert numbers.other_metrics(nn.Identity()) == {}


def test_results_have_the_worst_kinds(numbers, tmp_path):
    plan = plan_runs(numbers, "hidden-rare", ["random"], [0.3], [0], numbers.recipe)
    lines = [line for _, line in run_all(numbers, plan.runs, Results(tmp_path))]
    for line in lines:
        assert 0 <= line["other_metrics"]["worst kinds"] <= line["quality"] <= 1
    again = Results(tmp_path)
    assert again.lines == lines
    plain = plan_runs(numbers, "as-is", [], [], [0], numbers.recipe)
    ((_, line),) = run_all(numbers, plain.runs, again)
    assert "other_metrics" not in line


def test_a_task_without_kinds_says_so(numbers, bright):
    assert HIDDEN.fits(numbers)
    for task in (bright, Numbers()):
        assert not HIDDEN.fits(task)
        with pytest.raises(ValueError, match="knows no kinds of its samples; choose another"):
            HIDDEN.samples(task, 0)


def test_as_few_samples_as_kinds():
    kinds = Kinds(torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    train = TensorDataset(torch.zeros(2, 1), torch.tensor([0, 1]))
    found = with_rare_kinds(kinds, train, torch.Generator().manual_seed(0))
    assert found.tensors[1].tolist() == [0, 0]
