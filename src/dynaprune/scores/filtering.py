"""A Kalman filter with a diagonal covariance: the excess of each sample over the others."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..utils.sampling import take
from .windows import Numbers, means

Floats = NDArray[np.float32]


def corrected(
    excess: Floats, variances: Floats, sizes: NDArray[np.int64], measured: Numbers, noise: float
) -> tuple[Floats, Floats]:
    """Return the excess and its variance after measurements, shape (M,) each.

    A measurement r of the mean excess of B samples, with noise of variance τ²/B, gives

        K_i = P_i / (mean of P + τ²)
        s_i ← s_i + K_i·(r − mean of s)
        P_i ← P_i·(1 − K_i/B)

    Arguments:
        excess: s, shape (M,): of the samples of all measurements, one measurement after the other.
        variances: P, likewise.
        sizes: B of each measurement, shape (G,); they sum to M.
        measured: r, shape (G,).
        noise: τ².
    """
    residuals = measured - means(excess, sizes)
    # K of each sample; multiplied by the residual of the batch it is the sample's correction
    gains = variances / np.repeat(means(variances, sizes) + noise, sizes)
    moved = excess + gains * np.repeat(residuals, sizes)
    left = variances * (1 - gains / np.repeat(sizes, sizes))
    return moved.astype(np.float32), left.astype(np.float32)


def spread_among(indices: Tensor, excess: Floats, variances: Floats) -> float:
    """Return the standard deviation of the excess among some samples, relative to that of all.

    For example, if a method serves only easy samples, its batches differ less.

    Arguments:
        indices: int64, shape (M,): the samples.
        excess: shape (N,): of all samples.
        variances: likewise.
    """
    if indices.numel() == excess.size:
        return 1.0
    served = _variance(take(excess, indices), take(variances, indices))
    return math.sqrt(served / _variance(excess, variances))


def _variance(excess: Floats, variances: Floats) -> float:
    """Return the variance of excesses with estimation variances `variances`, shape (M,) each."""
    return float(excess.var(dtype=np.float64)) + float(variances.mean(dtype=np.float64))
