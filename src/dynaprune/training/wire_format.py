"""What a rank has measured, as bytes: eight a batch where others know its samples.

Every rank knows the plan, so it knows the share of every other, and a batch that is a slice of its
share is said by where it starts. Only where that is not so are samples sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..losses.chunk_sizes import slice_sizes
from ..losses.measurements import PORTION, Measurements

SLICES = 1
"""Batches are slices of the rank's share: where each one starts is sent, and not its samples."""

ONE_A_STEP, ONE_A_SAMPLE, MIXED = 0, 2, 4
"""Measurements of a step: its mean loss, a loss for each sample, or as many as are sent along.

How many there are tells their sizes, by the rule of `slicing`.
"""

HEADER = np.dtype([("form", "<i8"), ("groups", "<i8"), ("steps", "<i8"), ("samples", "<i8")])


def encode(batches: Measurements, share: NDArray[np.integer[Any]] | None) -> bytes:
    """Return measurements as bytes.

    Arguments:
        batches: what the rank has measured, in steps that are cut by the rule of `slicing`.
        share: shape (K,): the samples that it serves, in order, if the others know them.
    """
    starts = None if share is None else _slices(batches, share)
    return _pack(batches, starts)


class Message:
    """Measurements of a rank as they were received, which take little memory until they are read.

    Arguments:
        message: of `encode`; bytes after its end are ignored.
        share: shape (K,): the samples that the sender serves, in order, if they are known.

    Attributes:
        num_steps: T, the number of training steps.
        num_samples: how many samples they had together.
        num_groups: the number of measurements.
    """

    def __init__(self, message: bytes, share: NDArray[np.integer[Any]] | None) -> None:
        header = np.frombuffer(message, HEADER, 1)[0]
        form, self.num_steps = int(header["form"]), int(header["steps"])
        self.num_samples, self.num_groups = int(header["samples"]), int(header["groups"])
        reader = _Reader(message, HEADER.itemsize)
        self._losses = reader.take(np.float32, self.num_groups)
        if form & SLICES and share is not None:
            self._samples = share
            starts = reader.take(np.int32, self.num_steps).astype(np.int64)
            lengths = _lengths(starts, self.num_samples)
        else:
            lengths = reader.take(np.int32, self.num_steps).astype(np.int64)
            starts = np.cumsum(lengths) - lengths
            self._samples = reader.take(np.int64, self.num_samples)
        self._starts, self._lengths = starts, lengths
        if form & MIXED:
            counts = reader.take(np.int32, self.num_steps).astype(np.int64)
        else:
            counts = lengths if form & ONE_A_SAMPLE else np.ones(self.num_steps, dtype=np.int64)
        self._sizes = slice_sizes(lengths, counts)
        self._groups = np.concatenate([[0], np.cumsum(counts)])

    def part(self, first: int, last: int) -> Measurements:
        """Return what was measured in the steps from `first` to before `last`."""
        last = min(last, self.num_steps)
        first = min(first, last)
        starts, lengths = self._starts[first:last], self._lengths[first:last]
        before = np.cumsum(lengths) - lengths
        places = np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
        groups = slice(int(self._groups[first]), int(self._groups[last]))
        counts = np.diff(self._groups[first : last + 1])
        return Measurements(
            torch.from_numpy(self._samples[places]),
            torch.from_numpy(self._sizes[groups]),
            torch.from_numpy(self._losses[groups]),
            torch.from_numpy(np.repeat(np.arange(first, last), counts)),
        )


def in_turn(messages: Sequence[Message]) -> Measurements:
    """Return what several ranks have measured at the same time, ordered by step, then by rank.

    Each rank's batch is a step of its own then, as if one process had trained on them all.
    """
    total = sum(each.num_samples for each in messages)
    steps = max(each.num_steps for each in messages)
    groups = sum(each.num_groups for each in messages)
    joined: Measurements | None = None
    samples_done = groups_done = 0
    at_a_time = max(1, PORTION * steps // max(1, total))
    for first in range(0, steps, at_a_time):
        part = Measurements.side_by_side([each.part(first, first + at_a_time) for each in messages])
        if joined is None:  # room for all, filled bit by bit
            joined = part.room_for(total, groups)
        samples_done, groups_done = joined.fill(part, samples_done, groups_done)
    return Measurements.none() if joined is None else joined


def _pack(batches: Measurements, starts: NDArray[np.int64] | None) -> bytes:
    """Return measurements as bytes, by where their batches start if `starts` says so."""
    counts, lengths = _steps(batches)
    if bool((counts == 1).all()):
        kind = ONE_A_STEP
    else:
        kind = ONE_A_SAMPLE if np.array_equal(counts, lengths) else MIXED
    header = np.zeros(1, HEADER)
    header["form"] = kind | (0 if starts is None else SLICES)
    header["groups"], header["steps"] = len(batches), counts.size
    header["samples"] = batches.indices.numel()
    parts: list[NDArray[np.generic]] = [header, batches.losses.numpy()]
    if starts is None:
        parts += [lengths.astype(np.int32), batches.indices.numpy().astype(np.int64)]
    else:
        parts.append(starts.astype(np.int32))
    if kind == MIXED:
        parts.append(counts.astype(np.int32))
    return b"".join(part.tobytes() for part in parts)


def _steps(batches: Measurements) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of measurements and of samples of each step, of shape (T,) each."""
    steps = batches.steps.numpy()
    first = np.flatnonzero(np.diff(steps, prepend=-1))
    counts = np.diff(first, append=steps.size)
    lengths = np.add.reduceat(batches.sizes.numpy(), first) if first.size else counts
    return counts, lengths


def _slices(batches: Measurements, share: NDArray[np.integer[Any]]) -> NDArray[np.int64] | None:
    """Return where in the share each step's samples start, if all steps are slices of it.

    Slices that leave a gap are none here: where they start does not say where they end.
    """
    if share.size > np.iinfo(np.int32).max:  # as which the places are sent
        return None
    indices = batches.indices.numpy()
    _, lengths = _steps(batches)
    first = np.cumsum(lengths) - lengths
    if indices.size <= share.size and np.array_equal(indices, share[: indices.size]):
        return first  # the usual case: the share's batches, one after the other
    highest = max(int(indices.max(initial=0)), int(share.max(initial=0)))
    position = np.full(highest + 1, -1, dtype=np.int64)
    position[share[::-1]] = np.arange(share.size)[::-1]  # of a repeated one, the first place
    starts = position[indices[first]].astype(np.int64)
    inside = bool((starts >= 0).all()) and bool((starts + lengths <= share.size).all())
    if not inside or np.unique(starts).size < starts.size:
        return None
    lengths_as_read = _lengths(starts, indices.size)
    if not np.array_equal(lengths_as_read, lengths):
        return None
    places = np.repeat(starts - first, lengths) + np.arange(indices.size)
    return starts if np.array_equal(share[places], indices) else None


def _lengths(starts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Return the lengths of slices that begin at `starts`, lie side by side and make `total`."""
    order = np.argsort(starts)
    lengths = np.zeros(starts.size, dtype=np.int64)
    lengths[order[:-1]] = np.diff(starts[order])
    if starts.size:
        lengths[order[-1]] = max(0, total - int(lengths.sum()))
    return lengths


Number = TypeVar("Number", np.float32, np.int32, np.int64)


class _Reader:
    """Takes arrays from bytes, one after the other."""

    def __init__(self, message: bytes, offset: int) -> None:
        self._message, self._offset = message, offset

    def take(self, dtype: type[Number], count: int) -> NDArray[Number]:
        # a copy: bytes cannot be written to, and torch wants what can
        values = np.array(np.frombuffer(self._message, dtype, count, self._offset))
        self._offset += values.nbytes
        return values
