"""Means over seeds, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Mean:
    """A mean and the half-width of its 95% interval (Student's t), NaN for a single value."""

    value: float
    half_width: float

    def percent(self, *, sign: bool = False) -> str:
        """Return the mean and its interval in percent, such as `98.1 ± 0.3`."""
        value = f"{100 * self.value:{'+' if sign else ''}.1f}"
        if math.isnan(self.half_width):
            return value
        return f"{value} ± {100 * self.half_width:.1f}"


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of values, shape (n,), n ≥ 1, with its interval."""
    if len(values) == 1:
        return Mean(float(values[0]), math.nan)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    return Mean(float(np.mean(values)), float(error * stats.t.ppf(0.975, len(values) - 1)))
