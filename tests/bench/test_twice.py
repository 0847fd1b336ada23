"""The baselines for rare kinds that change how often errors count."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from dynaprune import DataLoader
from dynaprune.bench.training import focal
from dynaprune.bench.twice import TIMES, first_training, second_training


def test_both_trainings_make_the_visits_of_a_method_with_this_saving():
    data = list(range(40))
    first = first_training(data, 10, 0, 0.4)
    served = []
    for _ in range(first.num_epochs):
        for batch in DataLoader(first, batch_size=8):
            served += batch.tolist()
            first.update(torch.where(batch < 5, 1.0, 0.1))
    assert len(served) == 60  # a quarter of 0.6 · 400
    second = second_training(first, data, 10, 0.4)
    counts = torch.zeros(40)
    for _ in range(second.num_epochs):
        for batch in DataLoader(second, batch_size=8):
            counts += torch.bincount(batch, minlength=40)
            second.update(torch.ones(len(batch)))
    assert counts.sum() == 180
    # of five wrong ones there are five copies each, in epochs of 60
    assert counts[:5].min() > TIMES / 2 * counts[5:].max()


def test_the_first_training_sees_each_sample_once_at_least():
    assert first_training(list(range(40)), 4, 0, 0.5).num_visits == 40


def test_focal_loss():
    sure = torch.tensor([0.1, 0.5, 0.999])
    losses = binary_cross_entropy(sure, torch.ones(3), reduction="none")
    expected = [-((1 - p) ** 2) * math.log(p) for p in (0.1, 0.5, 0.999)]
    assert focal(losses).tolist() == pytest.approx(expected, rel=1e-3)
