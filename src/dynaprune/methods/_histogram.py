"""Histograms of scores: as fine as the numbers are, in one pass and little memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXACT = 1 << 17
"""Up to as many numbers are sorted, and each distinct one is a bin."""

CHUNK = 1 << 18
"""Numbers that are counted at a time."""

DROPPED_BITS = 11
"""Bits of a float32's 23 of fraction that do not tell bins apart: 2⁻¹² of the distance to the
lowest number is then as wide as a bin can be, and there are at most 2²⁰ of them."""


@dataclass(frozen=True)
class Histogram:
    """Numbers in bins, ascending, none of them empty.

    Attributes:
        numbers: float32, shape (M,): all of them.
        counts: int64, shape (K,): how many are in each bin.
        means: float64, shape (K,): their mean.
        codes: int64, shape (K,): of the bin's numbers, see `_codes`; `None` where the bins hold
            equal numbers each, which are their means.
    """

    numbers: NDArray[np.float32]
    counts: NDArray[np.int64]
    means: NDArray[np.float64]
    codes: NDArray[np.int64] | None

    def lowest(self, bins: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the lowest number in each of some bins: float32."""
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

    The bins are narrow near the lowest number and wide far from it, as losses are spread.
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
    """Yield parts of the numbers, and the codes of these."""
    lowest = numbers.min()
    for start in range(0, numbers.size, CHUNK):
        chunk = numbers[start : start + CHUNK]
        yield chunk, _codes(chunk, lowest)


def _codes(numbers: NDArray[np.float32], lowest: np.float32) -> NDArray[np.int32]:
    """Return the first bits of what numbers are above the lowest: int32, in the numbers' order.

    The bits of floats that are not negative, read as integers, are in the order of the floats.
    """
    codes: NDArray[np.int32] = (numbers - lowest).view(np.int32) >> DROPPED_BITS
    return codes
