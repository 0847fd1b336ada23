"""Percentile ranks of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def percentiles(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the share of the values below each value, ties counting half: shape (N,)."""
    _, groups, counts = np.unique(values, return_inverse=True, return_counts=True)
    shares = (np.cumsum(counts) - counts / 2) / values.size
    found: NDArray[np.float64] = shares[groups.reshape(-1)]
    return found
