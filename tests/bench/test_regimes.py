"""Regimes of the benchmark: changed data, and losses that balance classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bench_commands import TASK_FILE, Bright, run_command
from torch.utils.data import TensorDataset

from dynaprune.bench.recipe import Recipe
from dynaprune.bench.regimes import REGIMES
from dynaprune.bench.results import Results
from dynaprune.bench.runner import plan_runs, run_all
from dynaprune.bench.task import Task


def test_near_duplicates_of_sentences_keep_their_words():
    class Short(Bright):
        def load(self, root):
            words = torch.zeros(64, 6, dtype=torch.int64)
            words[:, 0] = torch.arange(64) + 1  # a word, and nothing behind it
            words[::2, 1] = 99
            self.train = TensorDataset(words, torch.arange(64) % 3)

    task = Short()
    task.load(None)
    for seed in range(20):
        words, _ = REGIMES["redundant"].samples(task, seed).tensors
        assert (words[:, 0] > 0).all()
        assert (words[:, 2:] == 0).all()


def test_regimes_of_labels_need_a_task_that_learns_them(bright):
    class Contrastive(Bright):
        learns_labels = False

    task = Contrastive()
    task.load(None)
    assert not REGIMES["wrong-labels"].fits(task)
    with pytest.raises(ValueError, match="a tenth of the labels are wrong: that needs classes"):
        REGIMES["wrong-labels"].samples(task, 0)

    class Mean(Bright):
        losses = Task.losses

    task = Mean()
    task.load(None)
    with pytest.raises(ValueError, match="bright has no per-sample losses, so it is unknown"):
        REGIMES["trivial"].samples(task, 0)


def test_regimes(bright):
    inputs, labels = bright.train.tensors

    def of(name, seed=0):
        return REGIMES[name].samples(bright, seed).tensors

    images, classes = of("redundant")
    assert len(classes) == 120
    distance = (images.flatten(1).long()[:, None] - inputs.flatten(1).long()[None]).abs().amax(2)
    nearest = distance.min(1)
    assert nearest.values.max() <= 4
    assert len(nearest.indices.unique()) == 30  # a quarter, of which 8 are copied
    assert torch.equal(labels[nearest.indices], classes)
    assert np.bincount(of("long-tailed")[1]).tolist() == [40, 6, 1]  # 40 · 0.02^(c/2)
    images, classes = of("wrong-labels")
    assert torch.equal(images, inputs)
    assert int((classes != labels).sum()) == 12
    assert not torch.equal(classes, of("wrong-labels", 1)[1])
    assert torch.equal(classes, of("wrong-labels", 0)[1])
    images, classes = of("trivial")
    assert len(classes) == 53  # 40 of the easiest 40, and a quarter others
    assert REGIMES["as-is"].samples(bright, 0) is bright.train
    assert REGIMES["saturated"].recipe(bright.recipe).epochs == 24


def test_in_a_balanced_loss_classes_have_equal_shares(bright):
    regime = REGIMES["long-tailed-balanced"]
    data = regime.samples(bright, 0)
    task = regime.task(bright, data)
    batch = data.tensors
    drawn = torch.randn(len(data), 3)
    assert task.loss(drawn, batch).item() == pytest.approx(task.losses(drawn, batch).mean().item())
    assert task.loss(drawn, batch).item() != pytest.approx(bright.loss(drawn, batch).item())
    same = torch.zeros(len(data), 3)  # of equal logits, so that all losses are ln 3
    losses = task.losses(same, batch)
    for label in range(3):
        share = losses[batch[1] == label].sum() / losses.sum()
        assert share.item() == pytest.approx(1 / 3, rel=1e-5)
    assert task.loss(same, batch).item() == pytest.approx(math.log(3), rel=1e-5)
    assert bright.loss(same[:1], [part[:1] for part in batch]).item() == pytest.approx(math.log(3))
    assert task.name == bright.name
    assert task.has_losses
    long_tailed = REGIMES["long-tailed"]
    assert torch.equal(long_tailed.samples(bright, 0).tensors[1], data.tensors[1])
    assert long_tailed.task(bright, data) is bright


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_a_balanced_loss_is_trained_and_judged_by_what_it_was(bright, tmp_path, rate):
    """At a rate of 0 nothing is learned, so the metric has to be the same."""

    class Judged(Bright):
        higher_is_better = False

        def evaluate(self, model):
            return self.loss(model(self.train.tensors[0].float()), self.train.tensors)

    task = Judged()
    task.load(None)
    recipe = Recipe(epochs=4, batch_size=8, learning_rate=rate)
    found = {
        (regime, variant): line
        for regime in ("long-tailed", "long-tailed-balanced")
        for (variant, line) in [
            (line["variant"], line)
            for _, line in run_all(
                task,
                plan_runs(task, regime, ["bls-infobatch"], [0.2], [0], recipe).runs,
                Results(tmp_path),
            )
        ]
    }
    for variant in ("full", "bls-infobatch"):
        plain, weighted = found["long-tailed", variant], found["long-tailed-balanced", variant]
        assert plain["visits"] == weighted["visits"]
        assert plain["source"] == weighted["source"]
        assert plain["about"] == weighted["about"]
        assert (plain["quality"] == pytest.approx(weighted["quality"], rel=1e-5)) == (rate == 0)


def test_a_balanced_loss_needs_losses(bright):
    class Mean(Bright):
        losses = Task.losses

    task = Mean()
    task.load(None)
    with pytest.raises(ValueError, match="bright has no per-sample losses, so its loss"):
        plan_runs(task, "long-tailed-balanced", [], [], [0], bright.recipe)


def test_a_regime_of_classes_needs_classes(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(TASK_FILE)
    result = run_command("bench run {} --regime long-tailed --out {}", path, tmp_path)
    assert result.exit_code == 2
    assert (
        "the training set of mine is not a TensorDataset of inputs and int64 classes"
        in " ".join(result.output.split())
    )
