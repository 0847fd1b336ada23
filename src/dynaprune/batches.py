"""What an epoch has measured: the losses of its batches, and which samples each one is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batches:
    """The measurements of an epoch, in the order in which they were made.

    A measurement is the mean loss of a group of samples. A step that reported one mean loss made
    one measurement of its whole batch; a step that reported a loss vector made one of each sample.
    Groups are consecutive slices of `indices`.

    Attributes:
        indices: int64, shape (M,): the samples of all groups, one group after the other.
        sizes: int64, shape (G,): the number of samples of each group; they sum to M.
        losses: float32, shape (G,): the mean loss of each group.
        steps: int64, shape (G,), never falling: the training step that made each measurement.
    """

    indices: Tensor
    sizes: Tensor
    losses: Tensor
    steps: Tensor

    def __len__(self) -> int:
        return self.losses.numel()

    def per_sample(self) -> Tensor:
        """Return the loss of each entry of `indices`' group: float32, shape (M,)."""
        if len(self) == self.indices.numel():  # loss vectors only: nothing to repeat
            return self.losses
        return self.losses.repeat_interleave(self.sizes)

    def first_loss(self) -> float:
        """Return the mean loss of the first step."""
        first = self.steps == self.steps[0]
        sizes = self.sizes[first].double()
        return float((self.losses[first].double() * sizes).sum() / sizes.sum())

    def finite(self) -> Batches:
        """Return the measurements whose loss is a finite number."""
        keep = torch.isfinite(self.losses)
        if bool(keep.all()):
            return self
        members = keep.repeat_interleave(self.sizes)
        return Batches(self.indices[members], self.sizes[keep], self.losses[keep], self.steps[keep])

    def disjoint(self) -> Iterator[Batches]:
        """Split into consecutive parts within which no sample is in two measurements.

        An epoch that our sampler served is one such part. Loops that draw samples repeatedly make
        several, which are to be observed one after the other: that equals updating step by step.
        """
        if len(self) == 0:
            return
        indices = self.indices.numpy()
        seen = np.zeros(int(indices.max()) + 1, dtype=bool)
        seen[indices] = True
        if np.count_nonzero(seen) == indices.size:
            yield self
            return
        group = np.repeat(np.arange(len(self)), self.sizes.numpy())
        order = np.argsort(indices, kind="stable")
        repeated = indices[order[1:]] == indices[order[:-1]]
        previous = np.full(indices.size, -1)
        previous[order[1:][repeated]] = group[order[:-1][repeated]]
        start = 0
        # a sample that is twice in one measurement is no conflict: its loss is the same
        for position in np.flatnonzero((previous >= 0) & (previous < group)):
            if previous[position] >= start:
                yield self._groups(start, int(group[position]))
                start = int(group[position])
        yield self._groups(start, len(self))

    def _groups(self, start: int, stop: int) -> Batches:
        """Return the measurements `start` to `stop`."""
        first = int(self.sizes[:start].sum())
        last = first + int(self.sizes[start:stop].sum())
        return Batches(
            self.indices[first:last],
            self.sizes[start:stop],
            self.losses[start:stop],
            self.steps[start:stop],
        )
