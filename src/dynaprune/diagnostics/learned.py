"""Whether sample visits are wasted: how many samples hold hardly any of the loss."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LITTLE = 0.05
"""The share of the loss that counts as hardly any; `SkipConverged` gives up as much."""


def learned_share(losses: NDArray[np.float64]) -> float:
    """Return the share of the samples that together hold hardly any of the loss.

    These are the samples with the lowest losses, as many as hold `LITTLE` of the sum of all losses.
    Their share is about `LITTLE` if all samples are alike, and grows the more of them have been
    learned. It is NaN if a loss is below 0, or all are 0.

    Arguments:
        losses: per-sample losses, shape (n,).

    Example:
        >>> import numpy as np
        >>> from dynaprune.diagnostics.learned import learned_share
        >>> learned_share(np.array([1.0] * 20 + [0.001] * 80))
        0.8
    """
    if losses.size == 0 or losses.min() < 0 or losses.max() == 0:
        return math.nan
    held = np.cumsum(np.sort(losses), dtype=np.float64)
    return float(np.searchsorted(held, LITTLE * held[-1], side="right") / losses.size)
