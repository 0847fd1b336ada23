"""Means over seeds, how sure they are, and what they decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..utils.optional_imports import require

MIN_SEEDS = 5
"""Fewer decide nothing."""

LEVEL = 0.05
"""The probability of an error that a test is allowed."""


@dataclass(frozen=True)
class Mean:
    """A mean and the half-width of its 95% interval (Student's t), NaN for a single value."""

    value: float
    half_width: float

    def percent(self, *, sign: bool = False) -> str:
        """Return the mean and its interval in percent, such as `98.1 ± 0.3`."""
        return self.text(100, 1, sign=sign)

    def text(self, scale: float = 1, digits: int = 3, *, sign: bool = False) -> str:
        """Return the mean and its interval, times `scale`, with so many digits."""
        value = f"{scale * self.value:{'+' if sign else ''}.{digits}f}"
        if float(value) == 0:
            value = value.replace("-", "+" if sign else "")  # of what rounding leaves of a minus
        if math.isnan(self.half_width):
            return value
        return f"{value} ± {scale * self.half_width:.{digits}f}"

    @property
    def is_above_zero(self) -> bool:
        """Whether all of the interval is."""
        return self.value - self.half_width > 0

    @property
    def is_below_zero(self) -> bool:
        """Whether all of the interval is."""
        return self.value + self.half_width < 0


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of values, shape (n,), n ≥ 1, with its interval."""
    if len(values) == 1:
        return Mean(float(values[0]), math.nan)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    quantile = require("scipy.stats", "bench").t.ppf(0.975, len(values) - 1)
    return Mean(float(np.mean(values)), float(error * quantile))


class Verdict(str, Enum):
    """Whether a training is as good as full training, to within a margin."""

    LOSSLESS = "lossless"
    LOSES = "loses"
    UNDECIDED = "undecided"


def judge(differences: Sequence[float], margin: float) -> Verdict:
    """Test whether a training is not worse than full training by more than a margin.

    Two one-sided t-tests of differences that are paired by seed, at a level of 5% each: lossless
    if the mean difference is shown to be above −margin, a loss if it is shown to be below. What the
    seeds do not show is undecided, and so is everything with fewer than five of them.

    Source: for instance Walker & Nowacki, "Understanding Equivalence and Noninferiority Testing",
    J. Gen. Intern. Med. 26 (2011).

    Arguments:
        differences: quality less that of full training, seed by seed; positive is better: (n,).
            One that is not finite is of a training that has diverged, which is a loss.
        margin: the loss of quality that is still called none, above 0.

    Example:
        >>> from dynaprune.bench.statistics import judge
        >>> judge([0.001, -0.002, 0.000, -0.001, 0.001], margin=0.005).value
        'lossless'
        >>> judge([0.02, -0.03, 0.00, -0.02, 0.02], margin=0.005).value
        'undecided'
    """
    if len(differences) < MIN_SEEDS:
        return Verdict.UNDECIDED
    if not np.isfinite(differences).all():  # a training that has diverged
        return Verdict.LOSES
    shifted = np.asarray(differences, dtype=np.float64) + margin
    if np.ptp(shifted) <= 1e-12 * np.abs(shifted).max():  # no spread: there is nothing to test
        return Verdict.LOSSLESS if shifted[0] > 0 else Verdict.LOSES
    t_test = require("scipy.stats", "bench").ttest_1samp
    if t_test(shifted, 0, alternative="greater").pvalue < LEVEL:
        return Verdict.LOSSLESS
    if t_test(shifted, 0, alternative="less").pvalue < LEVEL:
        return Verdict.LOSES
    return Verdict.UNDECIDED
