"""Samples drawn with unequal probabilities, in an exact number."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..utils.sampling import all_indices, shuffled


def inclusion_probabilities(sizes: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return probabilities that are proportional to sizes and sum to `count`: shape (N,).

    Probabilities that would exceed 1 are set to 1, and the others are scaled up to keep the sum.

    Arguments:
        sizes: positive, shape (N,).
        count: the sum, from 1 to N.
    """
    probabilities: NDArray[np.float64] = sizes * (count / sizes.sum())
    while probabilities.max() > 1 + 1e-9:
        # by where: many numbers are read faster in order than by a random mask
        is_certain = probabilities >= 1
        left = count - int(np.count_nonzero(is_certain))
        factor = left / np.where(is_certain, 0.0, probabilities).sum()
        probabilities = np.where(is_certain, 1.0, probabilities * factor)
    return probabilities


def systematic(
    probabilities: NDArray[np.float64], count: int, generator: torch.Generator
) -> NDArray[np.bool_]:
    """Return a mask of exactly `count` samples, drawn with these probabilities: shape (N,).

    The probabilities are laid end to end in random order, and the samples that contain one of the
    points u, u + 1, … are drawn, for a random start u.

    Source: Madow, "On the theory of systematic sampling, II", Annals of Mathematical Statistics 20
    (1949); in random order, Hartley & Rao (1962).

    Arguments:
        probabilities: what `inclusion_probabilities` returned, shape (N,).
        count: their sum.
        generator: the source of all randomness.
    """
    order = shuffled(all_indices(probabilities.size), generator).numpy()
    # with only 24 random bits, count + u is exact
    start = float(torch.rand((), generator=generator, dtype=torch.float32, device="cpu"))
    ends = np.cumsum(probabilities[order])
    ends *= count / ends[-1]
    ends[-1] = count
    points = np.floor(ends + start)
    mask = np.empty(probabilities.size, dtype=np.bool_)
    mask[order] = np.diff(points, prepend=0.0) > 0
    return mask
