"""Samples of unequal probability, exactly as many as wanted."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..utils.sampling import everything, shuffled


def inclusion_probabilities(sizes: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return probabilities that are proportional to sizes and sum to `count`: shape (N,).

    None is above 1: those that would be are 1, and the others make up for it.

    Arguments:
        sizes: positive, shape (N,).
        count: the sum, from 1 to N.
    """
    probabilities: NDArray[np.float64] = sizes * (count / sizes.sum())
    while probabilities.max() > 1 + 1e-9:
        certain = probabilities >= 1
        probabilities[certain] = 1
        left = count - int(np.count_nonzero(certain))
        probabilities[~certain] *= left / probabilities[~certain].sum()
    return probabilities


def systematic(
    probabilities: NDArray[np.float64], count: int, generator: torch.Generator
) -> NDArray[np.bool_]:
    """Return a mask of samples that are drawn with these probabilities, `count` in all: shape (N,).

    They are laid end to end in random order, and those are drawn that lie on the points u, u + 1,
    …, of a grid with a random start u.

    Source: Madow, "On the theory of systematic sampling, II", Annals of Mathematical Statistics 20
    (1949); in random order, Hartley & Rao (1962).

    Arguments:
        probabilities: as of `inclusion_probabilities`, shape (N,).
        count: their sum.
        generator: the source of all randomness.
    """
    order = shuffled(everything(probabilities.size), generator).numpy()
    # 24 random bits: then count + u is exact
    start = float(torch.rand((), generator=generator, dtype=torch.float32, device="cpu"))
    ends = np.cumsum(probabilities[order])
    ends *= count / ends[-1]
    ends[-1] = count
    points = np.floor(ends + start)
    mask = np.empty(probabilities.size, dtype=np.bool_)
    mask[order] = np.diff(points, prepend=0.0) > 0
    return mask
