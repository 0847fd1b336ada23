"""Estimating how many samples have wrong labels from the distribution of losses."""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def _ramp(value: float) -> float:
    return min(1.0, max(0.0, value))
