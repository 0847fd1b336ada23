"""A baseline for rare kinds: train twice, and show what the first model gets wrong more often."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils.data import Subset

from ..pruned_dataset import PrunedDataset
from ..scores import SampleLoss
from .fewer_epochs import FewerEpochs, visits_left

FIRST = 0.25
"""The share of all visits that the first training makes."""

TIMES = 5
"""How often the second training shows what the first one got wrong."""

UNSURE = math.log(2)
"""The cross-entropy above which a sample counts as wrong: its class has less than one half."""


def first_training(data: Any, epochs: int, seed: int, saving: float) -> PrunedDataset:
    """Return the first training, which reads losses of single samples.

    Source of the method: Liu et al., "Just Train Twice" (ICML 2021), arXiv:2107.09044. Here both
    trainings together make as many visits as a method with the same `saving`.
    """
    visits = visits_left(data, epochs, saving)
    train = FewerEpochs(data, max(len(data), round(FIRST * visits)), seed=seed)
    scored: PrunedDataset = SampleLoss(train).proxy()
    return scored


def second_training(first: PrunedDataset, data: Any, epochs: int, saving: float) -> PrunedDataset:
    """Return the second training, on more copies of the errors, for the visits that are left."""
    wrong = (first.scores > UNSURE).nonzero().flatten()
    indices = torch.cat([torch.arange(len(data)), wrong.repeat(TIMES - 1)])
    left = visits_left(data, epochs, saving) - first.summary().visits_made
    return FewerEpochs(Subset(data, indices.tolist()), left, seed=first.seed)
