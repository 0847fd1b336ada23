"""Samples drawn with unequal probabilities, in an exact number."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..utils.rng import numpy_generator
from ._ranking import lowest

SMALLEST = 1e-20
"""The least size. If others are about 1, the keys of such samples are still finite."""

ROUNDING = 1e-6
"""By how much a probability of 1 may exceed it in float32."""


def inclusion_probabilities(sizes: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return probabilities that are proportional to sizes and sum to `count`: shape (N,).

    Probabilities that would exceed 1 are set to 1, and the others are scaled up to keep the sum.

    Arguments:
        sizes: positive, float32, shape (N,).
        count: the sum, from 1 to N.
    """
    probabilities: NDArray[np.float32] = sizes * np.float32(count / sizes.sum(dtype=np.float64))
    while probabilities.max() > 1 + ROUNDING:
        # by where: many numbers are read faster in order than by a random mask
        is_certain = probabilities >= 1
        left = count - int(np.count_nonzero(is_certain))
        others = np.where(is_certain, np.float32(0), probabilities)
        factor = np.float32(left / others.sum(dtype=np.float64))
        probabilities = np.where(is_certain, np.float32(1), probabilities * factor)
    return probabilities


def drawn(
    probabilities: NDArray[np.float32], count: int, generator: torch.Generator
) -> NDArray[np.bool_]:
    """Return a mask of exactly `count` samples, drawn with these probabilities: shape (N,).

    A uniform number u for each sample gives it the key u/(1 − u) · (1 − p)/p, and the samples with
    the lowest keys are drawn. Their probabilities are the given ones up to an error that vanishes
    as N grows; those of equal samples are equal. Nothing is read in random order, so for many
    samples this takes half the time of laying shuffled probabilities end to end. Numbers are
    float32, in which finding the lowest takes a fifth of the time; equal keys are drawn at random.

    Source: Rosén, "On sampling with probability proportional to size", Journal of Statistical
    Planning and Inference 62 (1997): Pareto sampling.

    Arguments:
        probabilities: what `inclusion_probabilities` returned, float32, shape (N,).
        count: their sum.
        generator: the source of all randomness.
    """
    keys = 1 / probabilities
    keys -= 1
    # u/(1 − u) = 1/(1 − u) − 1, in place: new arrays take longer than what is computed
    ratios = numpy_generator(generator).random(probabilities.size, dtype=np.float32)
    np.subtract(1, ratios, out=ratios)
    np.divide(1, ratios, out=ratios)
    ratios -= 1
    keys *= ratios
    return lowest(keys, count, generator)
