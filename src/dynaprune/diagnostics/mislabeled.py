"""How many samples have distinctly higher losses than the others, as wrong labels make."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..scores.loss_shape import LossShape, share_of_outliers

Numbers = NDArray[np.float64]

DEPTH = 3.0
"""Standard errors by which the density between two groups must be below that of the smaller one.
It is the deepest of many valleys that is looked at, so two are too few: noise makes those."""

SMALLEST = 0.1
"""The share below which the moments of a thousand losses say nothing."""

FEWEST = 100
"""Losses of which moments are taken."""

CELLS = 8
"""Cells of the histogram in a bandwidth."""


def wrong_share(losses: NDArray[np.floating]) -> float:
    """Return the share of the samples that are a group of their own, with higher losses.

    Where many labels are wrong and have not been memorized, the losses fall into two groups
    with a valley between them. Those of right but hard samples decay without one. So the density
    of the losses' cube roots is estimated with a Gaussian kernel, and its deepest valley sought:
    the point whose density is furthest below the highest one on either side, the lower of the two.
    If it is so by three standard errors, the share above it is returned. The cube root makes the
    losses of a single group about normal (Wilson & Hilferty 1931, for those that are gamma
    distributed), so that a skewed group is one hill and a long tail none.

    Two groups that overlap leave no valley. They are told by the moments of the losses
    (`share_of_outliers`), which say less exactly how large the second one is.

    It is careful: wrong labels that have been memorized are not found; nor is a tenth of the
    samples or less, among a thousand. Nor is a group of more than half of the samples one of wrong
    labels. Many losses of exactly the lowest value, as a hinge loss has, are no group either.

    Arguments:
        losses: shape (n,), finite, of single samples, by a model that is at least a quarter
            through its training.

    Source: the kernel's width is Silverman's (1986, equation 3.31).

    Example:
        >>> import numpy as np
        >>> from dynaprune.diagnostics.mislabeled import wrong_share
        >>> random = np.random.default_rng(0)
        >>> right, wrong = random.gamma(2, 0.1, size=800), random.normal(3, 0.5, size=200)
        >>> round(wrong_share(np.concatenate([right, wrong])), 2)
        0.2
        >>> wrong_share(right)
        0.0
    """
    values = np.asarray(losses, dtype=np.float64)
    return _share_above_valley(values) or _share_by_moments(values)


def _share_by_moments(values: Numbers) -> float:
    """Return the share by mean, spread and skewness, if it is one that a few samples can tell."""
    mean, spread = float(values.mean()), float(values.std())
    if values.size < FEWEST or spread == 0 or mean <= 0 or values.min() < 0:
        return 0.0
    skewness = float((((values - mean) / spread) ** 3).mean())
    error = float(np.sqrt(6 / values.size))  # that of normally distributed losses
    share = share_of_outliers(LossShape(spread / mean, skewness, error))
    return share if share >= SMALLEST else 0.0


def _share_above_valley(values: Numbers) -> float:
    """Return the share above the deepest valley, 0 if there is none."""
    higher = values[values > values.min()]
    roots = np.cbrt(higher - values.min())
    width = _kernel_width(roots)
    if width == 0:
        return 0.0
    density, edges = _density(roots, width)
    lower_hill = np.minimum(
        np.maximum.accumulate(density), np.maximum.accumulate(density[::-1])[::-1]
    )
    valley = int(np.argmax(lower_hill - density))
    depth = lower_hill[valley] - density[valley]
    # a sum of kernels of height 1 at n random places has about the variance (its mean)/√2
    error = np.sqrt((lower_hill[valley] + density[valley]) / np.sqrt(2))
    if depth <= DEPTH * error:
        return 0.0
    share = float(np.mean(values > values.min() + edges[valley + 1] ** 3))
    return share if share <= 0.5 else 0.0


def _kernel_width(values: Numbers) -> float:
    """Return the standard deviation of the kernel, 0 where no density can be estimated."""
    if values.size < 2:
        return 0.0
    low, high = np.quantile(values, [0.25, 0.75]).tolist()
    spread = float(values.std())
    if high > low:
        spread = min(spread, (high - low) / 1.349)  # that of a normal distribution
    # more cells than that would be for a few values that are far away from all others
    width: float = max(0.9 * spread * values.size**-0.2, float(np.ptp(values)) / 10_000)
    return width


def _density(values: Numbers, width: float) -> tuple[Numbers, Numbers]:
    """Return sums of Gaussian kernels of height 1 at the cells of a histogram, and their edges."""
    low, high = values.min() - 3 * width, values.max() + 3 * width
    cells = int((high - low) / width * CELLS)
    counts, edges = np.histogram(values, cells, (low, high))
    reach = np.arange(-4 * CELLS, 4 * CELLS + 1)
    kernel = np.exp(-0.5 * np.square(reach * (edges[1] - edges[0]) / width))
    # as many as there are cells, also where these are fewer than the kernel's
    density = np.convolve(counts, kernel)[4 * CELLS : 4 * CELLS + cells]
    return density, edges
