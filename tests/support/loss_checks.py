"""What tests of losses share: types, a data set with weights, and a log of torch's operations."""

from __future__ import annotations

import torch
from helpers import Numbers, with_scores
from torch.utils._python_dispatch import TorchDispatchMode

from dynaprune import InfoBatch

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def weighted(length=64):
    """A dataset in an epoch with weights, and its batches of 16."""
    scores = torch.arange(length) % 7 + 0.5
    train = with_scores(InfoBatch(Numbers(length), 10, prune_ratio=0.4), scores)
    train.epochs.score.needs_loss_vector = False  # takes both, as BLS does
    return train


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))
