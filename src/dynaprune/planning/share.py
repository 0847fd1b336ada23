"""Dividing an epoch among ranks."""

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
"""Samples whose batches are made up at a time."""

CHUNK = 65_536
"""Indices that are turned into Python integers at a time: 2 MiB of them, however long the epoch."""


class Drawn:
    """The samples of a share as Python integers, a chunk at a time, and how many were drawn.

    It does not hold the share: a plan that is over should not be kept for a count.
    """

    def __init__(self) -> None:
        self._total = 0
        self._chunk: Iterator[int] = iter(())
        self._ahead = 0  # samples up to the chunk's end
        self._chunks_left: weakref.ref[Iterator[Iterator[int]]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_chunks_left": None}  # who draws is of this process

    def integers(self, order: Tensor) -> Iterator[int]:
        """Return an iterator over them, which runs no Python code for a sample.

        Arguments:
            order: of the share.
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
        # the chunk's iterator knows what it has left, so that no sample costs a thing
        return self._total - self._ahead + length_hint(self._chunk)

    def count(self) -> int:
        """Return how many samples were drawn."""
        return self._total - self.left()

    def is_given_up(self) -> bool:
        """Whether some samples were not drawn, and will not be."""
        is_gone = self._chunks_left is not None and self._chunks_left() is None
        return is_gone and self.left() > 0


@dataclass(frozen=True)
class Share:
    """What one sampler serves of a plan: all that is due, or one rank's part of it.

    Attributes:
        plan: the whole.
        order: shape (K,), of `index_type(N)`: the samples to serve, in order.
        world_size: the number of parts that the plan was divided into.
        served_before: how many samples of the epoch come before these, in the same part.
        drawn: how many of them a sampler has served.
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
            size: B, samples a batch; the last one may have fewer.
            start: the first sample.
        """
        sizes = np.full(-(-(len(self) - start) // size), size, dtype=np.int64)
        sizes[-1:] -= sizes.size * size - (len(self) - start)
        return self.batches_of(sizes, start)

    def batches_of(
        self, sizes: NDArray[np.int64], start: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], float]]:
        """Yield the samples of batches of given sizes, int64, and their mean weight.

        Arguments:
            sizes: shape (T,), each at least 1: of the batches, one after the other.
            start: the first sample.
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

    Where a loader has kept count of what was served, the part is that of the whole plan, from its
    sample number `start` on.

    All ranks serve equally many. Where the samples do not come out even, the plan's first ones are
    repeated at the end, or the last ones left out (`drop_last`), as torch's `DistributedSampler`
    does it.
    """
    due = plan.due if start is None else plan.order
    each = due.numel() // world_size if drop_last else -(-due.numel() // world_size)
    order = due[rank : each * world_size : world_size]
    if order.numel() < each:
        # the plan's first samples, also in a resumed epoch: the same that it would have repeated
        repeated = rank + world_size * (each - 1) - due.numel()
        order = torch.cat([order, plan.order[repeated % len(plan)].reshape(1)])
    if start is not None:
        return Share(plan, order[start:], world_size, start)
    return Share(plan, order, world_size, (len(plan) - plan.due.numel()) // world_size)


def whole(plan: Plan, each: int, served_before: int = 0) -> Share:
    """Return all of a plan for a rank that has it to itself, where every rank serves `each`.

    Arguments:
        plan: of this rank alone.
        each: how many samples all ranks serve: where the plan has fewer, its first ones are
            repeated at the end; where it has more, the last ones are left out.
        served_before: how many samples were trained on before a checkpoint.
    """
    order = plan.due[:each]
    if order.numel() < each:
        first = max(0, served_before - len(plan))
        repeated = torch.arange(first, first + each - order.numel(), device="cpu") % len(plan)
        order = torch.cat([order, plan.order[repeated]])
    return Share(plan, order, 1, served_before)
