"""The highest and the lowest of many numbers, without sorting; ties are broken at random."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..utils.sampling import nonzero, random_mask


def lowest(
    values: NDArray[np.floating], count: int, generator: torch.Generator
) -> NDArray[np.bool_]:
    """Return a mask of the `count` lowest values, shape (N,); ties are broken at random."""
    if count == 0:
        return np.zeros(values.size, dtype=np.bool_)
    bound = np.partition(values, count - 1)[count - 1]
    chosen: NDArray[np.bool_] = np.less(values, bound)
    wanted = count - int(np.count_nonzero(chosen))
    chosen |= some_of(np.equal(values, bound), wanted, generator)
    return chosen


def highest(
    values: NDArray[np.floating], count: int, generator: torch.Generator
) -> NDArray[np.bool_]:
    """Return a mask of the `count` highest values, shape (N,); ties are broken at random."""
    return ~lowest(values, values.size - count, generator)


def some_of(mask: NDArray[np.bool_], count: int, generator: torch.Generator) -> NDArray[np.bool_]:
    """Return a mask of `count` random positions among those where `mask` is true: shape (N,)."""
    chosen = np.zeros(mask.size, dtype=np.bool_)
    # by position: writing through a random mask is slow
    places = nonzero(mask).numpy()
    chosen[places] = random_mask(count, places.size, generator)
    return chosen
