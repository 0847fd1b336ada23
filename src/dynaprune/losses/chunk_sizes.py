"""How a batch is split into slices: one rule for splitting it and for reading the slices' losses.

Asked for C slices, a batch of B samples is split into slices of s = ⌈B/C⌉ samples; the last slice
may be smaller, as with `torch.chunk`. That makes C' = ⌈B/s⌉ ≤ C slices. s follows from B and C':
C' ≥ B/s gives ⌈B/C'⌉ ≤ s, and C' ≤ C gives ⌈B/C'⌉ ≥ s.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def slice_size(batch_size: int, slices: int) -> int:
    """Return s, the size of each slice but the last, of a batch that is split into `slices`."""
    return -(-batch_size // slices)


def num_slices(batch_size: int, slices: int) -> int:
    """Return C' ≤ `slices`, the number of slices that a batch is actually split into."""
    return -(-batch_size // slice_size(batch_size, slices))


def can_be_cut(batch_size: int, slices: int) -> bool:
    """Return whether a batch can be split into exactly this number of slices."""
    return 1 <= slices <= batch_size and num_slices(batch_size, slices) == slices


def slice_sizes(batch_sizes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of samples of each slice of several batches, one batch after the other.

    Arguments:
        batch_sizes: shape (T,).
        counts: shape (T,): the number of slices of each batch.

    Returns:
        Shape (sum of `counts`,).
    """
    usual = -(-batch_sizes // counts)
    sizes = np.repeat(usual, counts)
    sizes[np.cumsum(counts) - 1] = batch_sizes - (counts - 1) * usual
    return sizes
