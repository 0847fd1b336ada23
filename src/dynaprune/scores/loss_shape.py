"""What the distribution of losses tells: how many labels are wrong, how much is learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

ALONE, MIXED = 1.5, 1.2
"""Ratios of skewness to coefficient of variation: above the first, a single kind of samples
explains the losses; below the second, it does not. Measured: see docs/methods.md."""

ALIKE, APART = 0.2, 0.3
"""Coefficients of variation: below the first, losses are too similar to tell kinds of samples
apart, and nearly normal for other reasons, like those of long texts."""

SYMMETRIC, SKEWED = 0.3, 0.6
"""Ratios of skewness to coefficient of variation: below the first, losses are symmetric about their
mean, which a single kind of samples can be, too. Unless their spread is large:"""

NARROW, WIDE = 0.6, 0.8
"""Coefficients of variation: symmetric, non-negative losses of a single kind stay below the first,
which is that of a uniform distribution."""


@dataclass(frozen=True)
class LossShape:
    """The distribution of the losses of single samples, by its moments.

    Attributes:
        variation: the coefficient of variation, standard deviation over mean.
        skewness: the third central moment over the third power of the standard deviation.
        error: the standard error of the skewness.
    """

    variation: float
    skewness: float
    error: float = 0.0


def share_of_outliers(shape: LossShape) -> float:
    """Return the share of the samples that are outliers with higher losses, in [0, 0.5].

    Losses of a single kind of samples, easy and hard, are about gamma distributed: their skewness g
    is twice their coefficient of variation c. A separate group with higher losses, such as samples
    with wrong labels that are not memorized, increases the variation more than the skewness. If g/c
    is 1.5 or more, 0 is returned. If it is 1.2 or less, the result is the share p of the higher
    value in a two-point distribution with the skewness g = (1 − 2p)/√(p·(1 − p)), which is
    p = (1 − g/√(4 + g²))/2; in between it is interpolated. A standard error is added to g first.
    Nothing can be inferred if c is below 0.2, or if it is below 0.6 and g/c is below 0.3: similar
    or symmetric losses can have other reasons.

    It relies on typical losses of models; other distributions of a single kind can mislead it, such
    as a Weibull distribution of shape 2.5.

    Arguments:
        shape: the distribution of the losses in an epoch that served all samples.

    Example:
        >>> from dynaprune.scores.loss_shape import LossShape, share_of_outliers
        >>> share_of_outliers(LossShape(variation=1.0, skewness=2.0))  # exponential
        0.0
        >>> round(share_of_outliers(LossShape(variation=2.0, skewness=1.5)), 3)  # one in five is 4
        0.2
    """
    skewness, variation = shape.skewness, shape.variation
    if variation <= 0 or skewness <= 0:
        return 0.0
    trust = _ramp((ALONE - (skewness + shape.error) / variation) / (ALONE - MIXED))
    trust *= max(
        _ramp((skewness / variation - SYMMETRIC) / (SKEWED - SYMMETRIC)),
        _ramp((variation - NARROW) / (WIDE - NARROW)),
    )
    trust *= _ramp((variation - ALIKE) / (APART - ALIKE))
    return trust * (1 - skewness / math.sqrt(4 + skewness**2)) / 2


def share_of_learned(variation: float, loss_share: float) -> float:
    """Return the share of the samples with the lowest losses that together hold `loss_share`.

    Losses are taken to be Weibull distributed, with this coefficient of variation. For a Weibull
    distribution of shape 1/b this is (Γ(1 + 2b)/Γ(1 + b)² − 1)^½, and the samples with losses below
    its p-quantile hold the share P(1 + b, −ln(1 − p)) of all loss, where P is the regularised lower
    incomplete gamma function. Both equations are solved by bisection.

    For a loss share of 5% on seven tasks, the result is 0.03 above the true share on average, that
    of a gamma distribution 0.09, and that of a lognormal one 0.11 below; where it is at most 0.5,
    it is 0.13 above at most: see benchmarks/studies/auto_budget_shares.py.

    Arguments:
        variation: the coefficient of variation of single losses, at least 0.
        loss_share: in [0, 1).

    Example:
        >>> from dynaprune.scores.loss_shape import share_of_learned
        >>> [round(share_of_learned(variation, 0.05), 2) for variation in (0, 0.5, 1, 2, 4)]
        [0.05, 0.16, 0.3, 0.52, 0.72]
    """
    log_moment = math.log1p(variation**2)
    exponent = _root(lambda b: math.lgamma(1 + 2 * b) - 2 * math.lgamma(1 + b) - log_moment, 20.0)
    order = torch.tensor(1 + exponent, dtype=torch.float64, device="cpu")

    def excess(quantile: float) -> float:
        return float(torch.igamma(order, torch.full_like(order, quantile))) - loss_share

    return -math.expm1(-_root(excess, 700.0))


def _root(function: Callable[[float], float], high: float) -> float:
    """Return where an increasing function crosses 0 between 0 and `high`."""
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return low


def _ramp(value: float) -> float:
    return min(1.0, max(0.0, value))
