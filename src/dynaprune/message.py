"""What a rank has measured, as bytes: eight a batch where others know its samples.

Every rank knows the plan, so it knows the share of every other, and a batch that is a slice of its
share is said by where it starts. Only where that is not so are samples sent.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from .batches import Batches

SLICES = 1
"""Batches are slices of the rank's share: where each one starts is sent, and not its samples."""

ONE_A_STEP, ONE_A_SAMPLE, MIXED = 0, 2, 4
"""Measurements of a step: its mean loss, a loss for each sample, or something else."""

HEADER = np.dtype([("form", "<i8"), ("groups", "<i8"), ("steps", "<i8"), ("samples", "<i8")])


def encode(batches: Batches, share: NDArray[np.integer[Any]] | None) -> bytes:
    """Return measurements as bytes.

    Arguments:
        batches: what the rank has measured.
        share: shape (K,): the samples that it serves, in order, if the others know them.
    """
    starts = None if share is None else _slices(batches, share)
    if starts is not None:
        # slices that leave a gap do not tell where the one before it ends: look before sending
        sent = _pack(batches, starts)
        if decode(sent, share).indices.equal(batches.indices):
            return sent
    return _pack(batches, None)


def decode(message: bytes, share: NDArray[np.integer[Any]] | None) -> Batches:
    """Return what `encode` was given, with the same share.

    Arguments:
        message: of `encode`; bytes after its end are ignored.
        share: shape (K,): the samples that the sender serves, in order, if they are known.
    """
    header = np.frombuffer(message, HEADER, 1)[0]
    form, steps = int(header["form"]), int(header["steps"])
    reader = _Reader(message, HEADER.itemsize)
    losses = reader.take(np.float32, int(header["groups"]))
    if form & SLICES and share is not None:
        starts = reader.take(np.int32, steps).astype(np.int64)
        lengths = _lengths(starts, int(header["samples"]))
        first = np.cumsum(lengths) - lengths
        indices = share[np.repeat(starts - first, lengths) + np.arange(int(header["samples"]))]
    else:
        lengths = reader.take(np.int32, steps).astype(np.int64)
        indices = reader.take(np.int64, int(header["samples"]))
    if form & MIXED:
        counts = reader.take(np.int32, steps).astype(np.int64)
        sizes = reader.take(np.int32, int(header["groups"])).astype(np.int64)
    elif form & ONE_A_SAMPLE:
        counts, sizes = lengths, np.ones(int(header["samples"]), dtype=np.int64)
    else:
        counts, sizes = np.ones(steps, dtype=np.int64), lengths
    return Batches(
        torch.from_numpy(indices),
        torch.from_numpy(sizes),
        torch.from_numpy(losses),
        torch.from_numpy(np.repeat(np.arange(steps), counts)),
    )


def _pack(batches: Batches, starts: NDArray[np.int64] | None) -> bytes:
    """Return measurements as bytes, by where their batches start if `starts` says so."""
    counts, lengths = _steps(batches)
    sizes = batches.sizes.numpy()
    if bool((counts == 1).all()):
        kind = ONE_A_STEP
    else:
        kind = ONE_A_SAMPLE if bool((sizes == 1).all()) else MIXED
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
        parts += [counts.astype(np.int32), sizes.astype(np.int32)]
    return b"".join(part.tobytes() for part in parts)


def _steps(batches: Batches) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of measurements and of samples of each step, of shape (T,) each."""
    steps = batches.steps.numpy()
    first = np.flatnonzero(np.diff(steps, prepend=-1))
    counts = np.diff(first, append=steps.size)
    lengths = np.add.reduceat(batches.sizes.numpy(), first) if first.size else counts
    return counts, lengths


def _slices(batches: Batches, share: NDArray[np.integer[Any]]) -> NDArray[np.int64] | None:
    """Return where in the share each step's samples start, if all of them are in it."""
    indices = batches.indices.numpy()
    _, lengths = _steps(batches)
    first = np.cumsum(lengths) - lengths
    highest = max(int(indices.max(initial=0)), int(share.max(initial=0)))
    position = np.full(highest + 1, -1, dtype=np.int64)
    position[share[::-1]] = np.arange(share.size)[::-1]  # of a repeated one, the first place
    starts = position[indices[first]]
    inside = bool((starts >= 0).all()) and bool((starts + lengths <= share.size).all())
    return starts if inside and np.unique(starts).size == starts.size else None


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
