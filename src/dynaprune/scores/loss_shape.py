"""How many samples have wrong labels, by how the losses are distributed."""

from __future__ import annotations

import math
from dataclasses import dataclass

ALONE, MIXED = 1.5, 1.2
"""Skewness over coefficient of variation: above the first, one kind of samples explains the losses;
below the second, it does not. Measured: see docs/methods.md."""

ALIKE, APART = 0.2, 0.3
"""Coefficients of variation: below the first, losses are too much alike to tell kinds of samples,
and about normally distributed for other reasons, as those of long texts are."""

SYMMETRIC, SKEWED = 0.3, 0.6
"""Skewness over coefficient of variation: below the first, losses lie alike on both sides of their
mean, as those of one kind can. Unless they are wide apart:"""

NARROW, WIDE = 0.6, 0.8
"""Coefficients of variation: symmetric losses of one kind, not below 0, stay below the first, which
is that of a uniform distribution."""


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
    """Return which share of the samples is of another kind, with higher losses, in [0, 0.5].

    Losses of samples of one kind, easy and hard, are about gamma distributed: their skewness g is
    twice their coefficient of variation c. A group of its own with higher losses, as wrong labels
    make that are not memorized, adds more to the variation than to the skewness. Where g/c
    is 1.5 or more, 0 is returned; where it is 1.2 or less, the share p of the higher of two numbers
    that has the skewness g = (1 − 2p)/√(p·(1 − p)), p = (1 − g/√(4 + g²))/2; and less in between.
    A standard error is added to g before that. Nothing is to be told where c is below 0.2, nor
    where it is below 0.6 and g/c below 0.3: losses that are alike, or symmetric, may be so for
    other reasons.

    It goes by what losses of models are like; other distributions of one kind can mislead it, such
    as a Weibull distribution of shape 2.5.

    Arguments:
        shape: of the losses in an epoch that has served all samples.

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
