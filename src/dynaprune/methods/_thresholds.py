"""What is compared with the mean score, where scores have errors, and that mean."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..utils.rng import numpy_generator


def mean_of(values: NDArray[np.float32]) -> float:
    """Return the mean of values, shape (N,), as what is compared with it needs it.

    It is taken in float64 and can still round above the highest of many equal values, which would
    put all of them below it; so it is kept within the values' range.
    """
    return min(float(values.mean(dtype=np.float64)), float(values.max()))


def upper_bounds(scores: Tensor, errors: Tensor, confidence: float) -> NDArray[np.float32]:
    """Return what each score is below with this confidence, score + z·error: shape (N,)."""
    bounds: NDArray[np.float32] = errors.numpy() * np.float32(NormalDist().inv_cdf(confidence))
    bounds += scores.numpy()
    return bounds


def thompson_draws(
    scores: Tensor, errors: Tensor, generator: torch.Generator
) -> NDArray[np.float32]:
    """Return what each score may be in truth, drawn from N(score, error²): shape (N,)."""
    values: NDArray[np.float32] = scores.numpy()
    if values.min() == values.max():  # nothing was measured yet, and nothing may be below the mean
        return values
    draws = numpy_generator(generator).standard_normal(values.size, dtype=np.float32)
    draws *= errors.numpy()
    draws += values
    return draws
