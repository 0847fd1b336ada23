"""How a batch is cut into slices: one rule, for what cuts it and for what reads the slices' losses.

Asked for C slices, a batch of B samples is cut into slices of s = ⌈B/C⌉ samples, the last of which
may have fewer, as `torch.chunk` does it. There are C' = ⌈B/s⌉ of them, at most C. B and C' tell s:
from C' ≥ B/s follows ⌈B/C'⌉ ≤ s, and from C' ≤ C follows ⌈B/C'⌉ ≥ s.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def slice_size(batch_size: int, slices: int) -> int:
    """Return s, the samples of each slice but the last, of a batch that is cut into `slices`."""
    return -(-batch_size // slices)


def num_slices(batch_size: int, slices: int) -> int:
    """Return C', how many slices there are where `slices` were asked for: at most as many."""
    return -(-batch_size // slice_size(batch_size, slices))


def can_be_cut(batch_size: int, slices: int) -> bool:
    """Return whether there can be exactly so many slices of a batch."""
    return 1 <= slices <= batch_size and num_slices(batch_size, slices) == slices


def slice_sizes(batch_sizes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of samples of each slice of several batches, one batch after the other.

    Arguments:
        batch_sizes: shape (T,).
        counts: shape (T,): how many slices each batch was cut into.

    Returns:
        Shape (sum of `counts`,).
    """
    usual = -(-batch_sizes // counts)
    sizes = np.repeat(usual, counts)
    sizes[np.cumsum(counts) - 1] = batch_sizes - (counts - 1) * usual
    return sizes
