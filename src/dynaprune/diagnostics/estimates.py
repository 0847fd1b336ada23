"""Estimates from a random subset of the samples, with their 95% intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..utils.percentiles import percentiles

Numbers = NDArray[np.float64]

NORMAL = 1.959963984540054
"""The quantile of the standard normal distribution at 97.5%."""

RESAMPLES = 1000
"""Bootstrap resamples: they determine the 2.5% quantile to about a tenth of a standard error."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95% interval, from `low` to `high`; NaN where there is none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "not known"
        if math.isnan(self.low):
            return f"{self.value:.2f}"
        return f"{self.value:.2f} (95% interval {self.low:.2f} to {self.high:.2f})"


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def rank_correlation(first: Numbers, second: Numbers) -> Estimate:
    """Return Spearman's rank correlation of two arrays of shape (n,); ties share their mean rank.

    It is NaN if all values of an array are equal. The interval is that of Fisher's z with the
    variance (1 + r²/2)/(n − 3) of Bonett & Wright (2000); it is unknown for n below 4.
    """
    if first.size == 0 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return UNKNOWN
    one, other = percentiles(first), percentiles(second)
    one -= one.mean()
    other -= other.mean()
    value = float(one @ other / math.sqrt((one @ one) * (other @ other)))
    value = min(1.0, max(-1.0, value))
    if first.size < 4:
        return Estimate(value, math.nan, math.nan)
    if abs(value) > 1 - 1e-12:
        return Estimate(value, value, value)
    reach = NORMAL * math.sqrt((1 + value**2 / 2) / (first.size - 3))
    z = math.atanh(value)
    return Estimate(value, math.tanh(z - reach), math.tanh(z + reach))


def ratio_of_means(losses: Numbers, chosen: NDArray[np.bool_], seed: int) -> Estimate:
    """Return the mean loss of the chosen samples over the mean loss of all, both of shape (n,).

    It is NaN if none is chosen, the mean is 0 or a loss is below 0. The interval comes from the
    quantiles of a bootstrap over the samples, with random numbers fixed by `seed`.
    """
    if not chosen.any() or losses.min() < 0 or losses.mean() == 0:
        return UNKNOWN
    random = np.random.default_rng(seed)
    weighted = losses * chosen
    ratios = []
    for _ in range(RESAMPLES):
        drawn = random.integers(losses.size, size=losses.size)
        total, count = losses[drawn].mean(), np.count_nonzero(chosen[drawn])
        if count and total > 0:
            ratios.append(weighted[drawn].sum() / count / total)
    value = float(losses[chosen].mean() / losses.mean())
    if not ratios:
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(ratios, [0.025, 0.975]).tolist()
    return Estimate(value, low, high)
