"""The measurements of an epoch: the losses of its batches, and the samples of each loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..utils.sampling import count_distinct

Indices: TypeAlias = "NDArray[np.int64] | Tensor"
"""Sample numbers, int64, shape (B,): an array on the host, or a tensor on another device."""

PORTION = 1 << 18
"""Samples that are folded at a time: so the temporary arrays stay in the CPU cache."""


@dataclass(frozen=True)
class Measurements:
    """The measurements of an epoch, in the order in which they were made.

    A measurement is the mean loss of a group of samples. A step that reported one mean loss made
    one measurement of its whole batch; a step that reported a loss vector made one per sample, and
    a step that reported the means of slices made one per slice.
    Groups are consecutive slices of `indices`.

    Attributes:
        indices: int64 or int32, shape (M,): the samples of all groups, one group after the other.
        sizes: int64, shape (G,): the number of samples of each group; they sum to M.
        losses: float32, shape (G,): the mean loss of each group.
        steps: int64, shape (G,), non-decreasing: the training step of each measurement.
    """

    indices: Tensor
    sizes: Tensor
    losses: Tensor
    steps: Tensor

    @staticmethod
    def none() -> Measurements:
        """Return empty measurements."""
        nothing = torch.empty(0, dtype=torch.int64, device="cpu")
        return Measurements(nothing, nothing, nothing.float(), nothing)

    @staticmethod
    def side_by_side(ranks: Sequence[Measurements]) -> Measurements:
        """Merge the measurements that several ranks made in the same steps, by step, then by rank.

        Each rank's batch counts as a step of its own, as if one process had trained on them all.
        """
        together = _joined(
            [
                replace(batches, steps=batches.steps * len(ranks) + rank)
                for rank, batches in enumerate(ranks)
            ]
        )
        return together._reordered(np.argsort(together.steps.numpy(), kind="stable"))

    def room_for(self, num_samples: int, num_groups: int) -> Measurements:
        """Return uninitialized measurements of this size, with the dtypes of these."""
        return Measurements(
            self.indices.new_empty(num_samples),
            self.sizes.new_empty(num_groups),
            self.losses.new_empty(num_groups),
            self.steps.new_empty(num_groups),
        )

    def fill(self, part: Measurements, sample: int, group: int) -> tuple[int, int]:
        """Copy a part to position (sample, group), and return the position after it."""
        last_sample, last_group = sample + part.indices.numel(), group + len(part)
        self.indices[sample:last_sample] = part.indices
        self.sizes[group:last_group] = part.sizes
        self.losses[group:last_group] = part.losses
        self.steps[group:last_group] = part.steps
        return last_sample, last_group

    def __len__(self) -> int:
        return self.losses.numel()

    def followed_by(self, later: Measurements) -> Measurements:
        """Return these measurements followed by those of `later`, with consecutive steps."""
        if len(self) == 0:
            return later
        return _joined([self, replace(later, steps=later.steps + self.steps[-1] + 1)])

    def last(self, most: int, num_samples: int) -> Measurements:
        """Return the last measurements: at most `most`, with at most `num_samples`, at least one.

        Arguments:
            most: at least 1.
            num_samples: at least 0.
        """
        if len(self) <= most and self.indices.numel() <= num_samples:
            return self
        behind = np.cumsum(self.sizes.numpy()[: -most - 1 : -1])
        count = max(1, int(np.searchsorted(behind, num_samples, side="right")))
        return self._groups(len(self) - count, len(self))

    def first_visits(self) -> Measurements:
        """Return the measurements without samples that were measured earlier in the epoch.

        Ranks that must serve equally many samples repeat a few at the end of an epoch.
        """
        indices = self.indices.numpy()
        if count_distinct(indices) == indices.size:
            return self
        seen = np.zeros(int(indices.max()) + 1, dtype=np.bool_)
        is_first = np.empty(indices.size, dtype=np.bool_)
        for start in range(0, indices.size, PORTION):
            part = indices[start : start + PORTION]
            earliest = np.zeros(part.size, dtype=np.bool_)
            earliest[np.unique(part, return_index=True)[1]] = True
            is_first[start : start + PORTION] = earliest & ~seen[part]
            seen[part] = True
        repeated = np.searchsorted(
            np.cumsum(self.sizes.numpy()), np.flatnonzero(~is_first), "right"
        )
        sizes = self.sizes.numpy() - np.bincount(repeated, minlength=len(self))
        kept = torch.from_numpy(sizes > 0)
        return Measurements(
            torch.from_numpy(indices[is_first]),
            torch.from_numpy(sizes)[kept],
            self.losses[kept],
            self.steps[kept],
        )

    def per_sample(self) -> Tensor:
        """Return the loss of the group of each entry of `indices`: float32, shape (M,)."""
        if len(self) == self.indices.numel():  # loss vectors only: nothing to repeat
            return self.losses
        # NumPy's repeat is several times as fast as torch's
        return torch.from_numpy(np.repeat(self.losses.numpy(), self.sizes.numpy()))

    def first_loss(self) -> float:
        """Return the mean loss of the first step."""
        first = self.steps == self.steps[0]
        sizes = self.sizes[first].double()
        return float((self.losses[first].double() * sizes).sum() / sizes.sum())

    def finite(self) -> Measurements:
        """Return the measurements whose loss is a finite number."""
        keep = torch.from_numpy(np.isfinite(self.losses.numpy()))
        if bool(keep.all()):
            return self
        members = keep.repeat_interleave(self.sizes)
        return Measurements(
            self.indices[members], self.sizes[keep], self.losses[keep], self.steps[keep]
        )

    def disjoint(self, *, in_parts: bool = False) -> Iterator[Measurements]:
        """Split into consecutive parts within which no sample is in two measurements.

        With `in_parts`, also into parts of about `PORTION` samples.

        An epoch that our sampler served is one such part. Loops that draw samples repeatedly make
        several parts. They must be observed one after the other, which equals step-by-step updates.
        """
        if len(self) == 0:
            return
        indices = self.indices.numpy()
        if count_distinct(indices) == indices.size:
            yield from self._portions() if in_parts else (self,)
            return
        group = np.repeat(np.arange(len(self)), self.sizes.numpy())
        order = np.argsort(indices, kind="stable")
        repeated = indices[order[1:]] == indices[order[:-1]]
        previous = np.full(indices.size, -1)
        previous[order[1:][repeated]] = group[order[:-1][repeated]]
        start = 0
        # a sample that occurs twice in one measurement is no conflict: its loss is the same
        for position in np.flatnonzero((previous >= 0) & (previous < group)):
            if previous[position] >= start:
                yield self._groups(start, int(group[position]))
                start = int(group[position])
        yield self._groups(start, len(self))

    def _portions(self) -> Iterator[Measurements]:
        """Split into consecutive parts of about `PORTION` samples, without splitting a step."""
        if self.indices.numel() <= PORTION:
            yield self
            return
        ends = np.cumsum(self.sizes.numpy())
        wanted = np.arange(PORTION, int(ends[-1]) + PORTION, PORTION)
        last_steps = self.steps.numpy()[np.minimum(np.searchsorted(ends, wanted), ends.size - 1)]
        stops = np.unique(np.searchsorted(self.steps.numpy(), last_steps, side="right"))
        starts = [0, *stops[:-1].tolist()]
        samples = [0, *ends[stops - 1].tolist()]
        for part, stop in enumerate(stops.tolist()):
            yield Measurements(
                self.indices[samples[part] : samples[part + 1]],
                self.sizes[starts[part] : stop],
                self.losses[starts[part] : stop],
                self.steps[starts[part] : stop],
            )

    def _reordered(self, order: NDArray[np.intp]) -> Measurements:
        """Return the measurements in another order, shape (G,)."""
        sizes = self.sizes.numpy()
        starts, moved = _starts(sizes)[order], sizes[order]
        members = np.repeat(starts - _starts(moved), moved) + np.arange(self.indices.numel())
        return Measurements(
            self.indices[torch.from_numpy(members)],
            torch.from_numpy(moved),
            self.losses[torch.from_numpy(order)],
            self.steps[torch.from_numpy(order)],
        )

    def _groups(self, start: int, stop: int) -> Measurements:
        """Return the measurements `start` to `stop`."""
        first = int(self.sizes[:start].sum())
        last = first + int(self.sizes[start:stop].sum())
        return Measurements(
            self.indices[first:last],
            self.sizes[start:stop],
            self.losses[start:stop],
            self.steps[start:stop],
        )


def _joined(parts: Sequence[Measurements]) -> Measurements:
    return Measurements(
        torch.cat([part.indices for part in parts]),
        torch.cat([part.sizes for part in parts]),
        torch.cat([part.losses for part in parts]),
        torch.cat([part.steps for part in parts]),
    )


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each of several consecutive slices begins."""
    return np.cumsum(sizes) - sizes
