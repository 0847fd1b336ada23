"""Means over seeds, their confidence intervals, and the test for a loss of quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..utils.optional_imports import require

MIN_SEEDS = 5
"""The number of seeds from which a test gives a verdict."""

LEVEL = 0.05
"""The significance level of each one-sided test."""


@dataclass(frozen=True)
class Mean:
    """A mean and the half-width of its 95% interval (Student's t), NaN for a single value."""

    value: float
    half_width: float

    def percent(self, *, sign: bool = False) -> str:
        """Return the mean and its interval in percent, such as `98.1 ± 0.3`."""
        return self.text(100, 1, sign=sign)

    def text(self, scale: float = 1, digits: int = 3, *, sign: bool = False) -> str:
        """Return the mean and its interval, multiplied by `scale`, with `digits` decimals."""
        value = f"{scale * self.value:{'+' if sign else ''}.{digits}f}"
        if float(value) == 0:
            value = value.replace("-", "+" if sign else "")  # no negative zero
        if math.isnan(self.half_width):
            return value
        return f"{value} ± {scale * self.half_width:.{digits}f}"

    @property
    def is_above_zero(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.value - self.half_width > 0

    @property
    def is_below_zero(self) -> bool:
        """Whether the whole interval is below zero."""
        return self.value + self.half_width < 0


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of values, shape (n,), n ≥ 1, with its interval."""
    if len(values) == 1:
        return Mean(float(values[0]), math.nan)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    quantile = require("scipy.stats", "bench").t.ppf(0.975, len(values) - 1)
    return Mean(float(np.mean(values)), float(error * quantile))


class Verdict(str, Enum):
    """Whether a variant is as good as full training, up to a margin."""

    LOSSLESS = "lossless"
    LOSES = "loses"
    UNDECIDED = "undecided"


def judge(differences: Sequence[float], margin: float) -> Verdict:
    """Test whether a variant is worse than full training by less than a margin.

    It makes two one-sided t-tests of the differences, at a level of 5% each. The verdict is
    lossless if the mean difference is shown to be above −margin, and a loss if it is shown to be
    below. Otherwise, and with fewer than five seeds, it is undecided.

    Source: for instance Walker & Nowacki, "Understanding Equivalence and Noninferiority Testing",
    J. Gen. Intern. Med. 26 (2011).

    Arguments:
        differences: the quality minus that of full training, paired by seed; positive is better:
            shape (n,). A value that is not finite means that the run diverged, which is a loss.
        margin: the largest loss of quality that is tolerated, above 0.

    Example:
        >>> from dynaprune.bench.statistics import judge
        >>> judge([0.001, -0.002, 0.000, -0.001, 0.001], margin=0.005).value
        'lossless'
        >>> judge([0.02, -0.03, 0.00, -0.02, 0.02], margin=0.005).value
        'undecided'
    """
    if len(differences) < MIN_SEEDS:
        return Verdict.UNDECIDED
    if not np.isfinite(differences).all():  # a run diverged
        return Verdict.LOSES
    shifted = np.asarray(differences, dtype=np.float64) + margin
    if np.ptp(shifted) <= 1e-12 * np.abs(shifted).max():  # no variance, so no t-test
        return Verdict.LOSSLESS if shifted[0] > 0 else Verdict.LOSES
    t_test = require("scipy.stats", "bench").ttest_1samp
    if t_test(shifted, 0, alternative="greater").pvalue < LEVEL:
        return Verdict.LOSSLESS
    if t_test(shifted, 0, alternative="less").pvalue < LEVEL:
        return Verdict.LOSES
    return Verdict.UNDECIDED
