"""What tests of losses share: types, weights, means of slices, and a log of torch's operations."""

from __future__ import annotations

import torch
from helpers import Numbers, sample_losses, with_scores
from torch.utils._python_dispatch import TorchDispatchMode

from dynaprune import InfoBatch, chunked

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]

chunk_means = chunked(lambda losses: losses.mean(), 4)


def means_of(batch):
    """The mean losses of four slices of a batch of `Numbers`, or of as many as can be."""
    return chunk_means(sample_losses(batch))


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
