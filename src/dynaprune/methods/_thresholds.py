"""The mean score, and what is compared with it if scores have errors."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..utils.rng import numpy_generator


def mean_of(values: NDArray[np.float32]) -> float:
    """Return the mean of values, shape (N,), safe to compare them with.

    A float64 mean can still round above the highest of many equal values, which would put all of
    them below it; so it is clipped to the range of the values.
    """
    return min(float(values.mean(dtype=np.float64)), float(values.max()))


def upper_bounds(scores: Tensor, errors: Tensor, confidence: float) -> NDArray[np.float32]:
    """Return the upper confidence bound of each score, score + z·error: shape (N,)."""
    bounds: NDArray[np.float32] = errors.numpy() * np.float32(NormalDist().inv_cdf(confidence))
    bounds += scores.numpy()
    return bounds


def thompson_draws(
    scores: Tensor, errors: Tensor, generator: torch.Generator
) -> NDArray[np.float32]:
    """Return a draw of each true score from N(score, error²): shape (N,)."""
    values: NDArray[np.float32] = scores.numpy()
    if values.min() == values.max():  # nothing was measured yet, so none may be below the mean
        return values
    draws = numpy_generator(generator).standard_normal(values.size, dtype=np.float32)
    draws *= errors.numpy()
    draws += values
    return draws
