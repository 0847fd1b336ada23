"""Serving an epoch's plan, one index at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor
from torch.utils.data import Sampler

from .plan import Plan

CHUNK = 65_536
"""Indices that are turned into Python integers at a time: 2 MiB of them, however long the epoch."""


class EpochSource(Protocol):
    """What a sampler serves the epochs of."""

    def begin_epoch(self) -> Plan:
        """Return the plan of the epoch that begins now."""

    def epoch_length(self) -> int:
        """Return the number of samples in the epoch that is being served or about to be."""


class PruningSampler(Sampler[int]):
    """Serves the samples that an epoch keeps, shuffled, as indices into the whole dataset.

    Made by `PrunedDataset.sampler`. Each `iter()` is a fresh iterator over one epoch, and `len()`
    is that epoch's length, before its first batch already.

    Arguments:
        source: the pruned dataset.
    """

    def __init__(self, source: EpochSource) -> None:
        super().__init__()
        self.source = source

    def __iter__(self) -> Iterator[int]:
        # no generator itself: the epoch begins now, not when the first index is asked for
        return _integers(self.source.begin_epoch().order)

    def __len__(self) -> int:
        return self.source.epoch_length()


def _integers(order: Tensor) -> Iterator[int]:
    """Yield a tensor of shape (K,) as Python integers, a chunk at a time."""
    for start in range(0, order.numel(), CHUNK):
        yield from order[start : start + CHUNK].tolist()
