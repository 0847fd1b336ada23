"""Fine-grained histograms of scores, in one pass and with little memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXACT = 1 << 17
"""Up to this many numbers are sorted, and each distinct one is a bin."""

CHUNK = 1 << 18
"""Numbers that are processed at a time."""

DROPPED_BITS = 11
"""Lowest fraction bits of a float32 (which has 23) that are ignored: so a bin is at most 2⁻¹² as
wide as its distance to the lowest number, and there are at most 2²⁰ bins."""


@dataclass(frozen=True)
class Histogram:
    """Numbers in ascending, non-empty bins.

    Attributes:
        numbers: float32, shape (M,): all of them.
        counts: int64, shape (K,): how many are in each bin.
        means: float64, shape (K,): the mean of each bin.
        codes: int64, shape (K,): the code of the numbers in each bin, see `_codes`; `None` if the
            numbers in a bin are all equal, so that they equal its mean.
    """

    numbers: NDArray[np.float32]
    counts: NDArray[np.int64]
    means: NDArray[np.float64]
    codes: NDArray[np.int64] | None

    def lowest(self, bins: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the lowest number in each of the given bins: float32."""
        if self.codes is None:
            return self.means[bins].astype(np.float32)
        lowest = np.full(bins.size, np.inf, dtype=np.float32)
        for chunk, codes in _chunks(self.numbers):
            for place, code in enumerate(self.codes[bins]):
                inside = chunk[codes == code]
                lowest[place] = min(lowest[place], inside.min(initial=np.inf))
        return lowest


def histogram(numbers: NDArray[np.float32]) -> Histogram:
    """Return the histogram of finite numbers, shape (M,), M ≥ 1.

    Bins are narrow near the lowest number and wide far from it, like the distribution of losses.
    """
    if numbers.size <= EXACT:
        values, counts = np.unique(numbers, return_counts=True)
        return Histogram(numbers, counts, values.astype(np.float64), None)
    highest = int(_codes(numbers.max(keepdims=True), numbers.min())[0])
    counts, sums = np.zeros(highest + 1, dtype=np.int64), np.zeros(highest + 1)
    for chunk, codes in _chunks(numbers):
        first, last = int(codes.min()), int(codes.max()) + 1
        codes = codes - first
        counts[first:last] += np.bincount(codes)
        sums[first:last] += np.bincount(codes, chunk)
    filled = np.flatnonzero(counts)
    return Histogram(numbers, counts[filled], sums[filled] / counts[filled], filled)


def _chunks(
    numbers: NDArray[np.float32],
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32]]]:
    """Yield the numbers in chunks, with their codes."""
    lowest = numbers.min()
    for start in range(0, numbers.size, CHUNK):
        chunk = numbers[start : start + CHUNK]
        yield chunk, _codes(chunk, lowest)


def _codes(numbers: NDArray[np.float32], lowest: np.float32) -> NDArray[np.int32]:
    """Return the leading bits of the distances to the lowest number: int32, in the same order.

    The bits of non-negative floats, read as integers, are ordered like the floats.
    """
    codes: NDArray[np.int32] = (numbers - lowest).view(np.int32) >> DROPPED_BITS
    return codes
