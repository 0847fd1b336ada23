"""The division of an epoch among ranks."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from operator import length_hint
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .plan import Plan

PORTION = 1 << 15
"""Samples whose batches are prepared at a time."""

CHUNK = 65_536
"""Indices that are converted to Python integers at a time: 2 MiB, for an epoch of any length."""


class Drawn:
    """The samples of a share as Python integers, chunk by chunk, and how many were drawn.

    It holds no reference to the share, so that counting does not keep a finished plan alive.
    """

    def __init__(self) -> None:
        self._total = 0
        self._chunk: Iterator[int] = iter(())
        self._ahead = 0  # samples up to the end of the current chunk
        self._chunks_left: weakref.ref[Iterator[Iterator[int]]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_chunks_left": None}  # iterators belong to this process

    def integers(self, order: Tensor) -> Iterator[int]:
        """Return an iterator over them that runs no Python code per sample.

        Arguments:
            order: the samples of the share.
        """
        self._total = order.numel()
        chunks = self._chunks(order)
        self._chunks_left = weakref.ref(chunks)
        return chain.from_iterable(chunks)

    def _chunks(self, order: Tensor) -> Iterator[Iterator[int]]:
        for start in range(0, order.numel(), CHUNK):
            chunk = order[start : start + CHUNK].tolist()
            self._chunk, self._ahead = iter(chunk), start + len(chunk)
            yield self._chunk

    def left(self) -> int:
        """Return how many samples are still to be drawn."""
        # the chunk's iterator knows how many it has left, so counting costs nothing per sample
        return self._total - self._ahead + length_hint(self._chunk)

    def count(self) -> int:
        """Return how many samples were drawn."""
        return self._total - self.left()

    def is_given_up(self) -> bool:
        """Whether the iterator was abandoned before all samples were drawn."""
        is_gone = self._chunks_left is not None and self._chunks_left() is None
        return is_gone and self.left() > 0


@dataclass(frozen=True)
class ShareRequest:
    """Which part of an epoch a sampler asks for.

    Attributes:
        world_size: the number of parts; by default that of `torch.distributed`.
        rank: which part; by default this process's.
        drop_last: whether to leave samples out, rather than repeat some, for parts of one size.
        start: how many samples of the part were served before, if the loader has counted them; by
            default the samples that were not trained on are served.
    """

    world_size: int | None = None
    rank: int | None = None
    drop_last: bool = False
    start: int | None = None


@dataclass(frozen=True)
class Share:
    """The part of a plan that one sampler serves: all samples due, or those of one rank.

    Attributes:
        plan: the whole plan.
        order: shape (K,), of `index_type(N)`: the samples to serve, in order.
        world_size: the number of parts that the plan was divided into.
        served_before: the number of samples of this part that were served earlier in the epoch.
        drawn: how many of the samples a sampler has served.
    """

    plan: Plan
    order: Tensor
    world_size: int
    served_before: int = 0
    drawn: Drawn = field(default_factory=Drawn, compare=False)

    def __len__(self) -> int:
        return self.order.numel()

    def batches(self, size: int, start: int = 0) -> Iterator[tuple[NDArray[np.int64], float]]:
        """Yield the samples of each batch, int64, and their mean weight.

        Arguments:
            size: B, samples per batch; the last one may have fewer.
            start: the position of the first sample.
        """
        sizes = np.full(-(-(len(self) - start) // size), size, dtype=np.int64)
        sizes[-1:] -= sizes.size * size - (len(self) - start)
        return self.batches_of(sizes, start)

    def batches_of(
        self, sizes: NDArray[np.int64], start: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], float]]:
        """Yield the samples of batches of given sizes, int64, and their mean weight.

        Arguments:
            sizes: shape (T,), each at least 1: the sizes of consecutive batches.
            start: the position of the first sample.
        """
        at_a_time = max(1, PORTION // int(sizes.max(initial=1)))
        for first in range(0, sizes.size, at_a_time):
            counts = sizes[first : first + at_a_time]
            indices = self.order[start : start + int(counts.sum())].numpy().astype(np.int64)
            begins = np.cumsum(counts) - counts
            if self.plan.weights is None:
                means = np.ones(counts.size)
            else:
                weights = self.plan.weights.of(indices)
                means = np.add.reduceat(weights, begins, dtype=np.float64) / counts
            for begin, count, mean in zip(
                begins.tolist(), counts.tolist(), means.tolist(), strict=True
            ):
                yield indices[begin : begin + count], mean
            start += indices.size

    def retired(self) -> Share:
        """Return a share of the same epoch that serves nothing and takes no memory."""
        return Share(self.plan.retired(), self.order[:0].clone(), self.world_size)


def share_of(
    plan: Plan, rank: int, world_size: int, *, drop_last: bool = False, start: int | None = None
) -> Share:
    """Return the part of a plan that `rank` serves: every `world_size`-th sample that is due.

    If a loader counts the served samples itself, the part is taken from the whole plan, from
    position `start` on.

    All ranks serve the same number of samples. If samples do not divide evenly, the first ones of
    the plan are repeated at the end, or the last ones are left out (`drop_last`), as in torch's
    `DistributedSampler`.
    """
    due = plan.due if start is None else plan.order
    each = due.numel() // world_size if drop_last else -(-due.numel() // world_size)
    order = due[rank : each * world_size : world_size]
    if order.numel() < each:
        # the plan's first samples, also in a resumed epoch: the original run repeats the same ones
        repeated = rank + world_size * (each - 1) - due.numel()
        order = torch.cat([order, plan.order[repeated % len(plan)].reshape(1)])
    if start is not None:
        return Share(plan, order[start:], world_size, start)
    return Share(plan, order, world_size, (len(plan) - plan.due.numel()) // world_size)


def whole(plan: Plan, each: int, served_before: int = 0) -> Share:
    """Return the share of a rank that has its own plan, if every rank serves `each` samples.

    Arguments:
        plan: the plan of this rank.
        each: the number of samples that every rank serves: if the plan has fewer, its first ones
            are repeated at the end; if it has more, the last ones are left out.
        served_before: the number of samples that were trained on before a checkpoint.
    """
    order = plan.due[:each]
    if order.numel() < each:
        first = max(0, served_before - len(plan))
        repeated = torch.arange(first, first + each - order.numel(), device="cpu") % len(plan)
        order = torch.cat([order, plan.order[repeated]])
    return Share(plan, order, 1, served_before)
