"""How many samples have distinctly higher losses than the others, as wrong labels cause."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..scores.loss_shape import LossShape, share_of_outliers

Numbers = NDArray[np.float64]

DEPTH = 3.0
"""Standard errors by which the density between two groups must be below that of the smaller one.
Two are too few: the deepest of many valleys is tested, and noise makes such valleys."""

SMALLEST = 0.1
"""The share below which the moments of a thousand losses are not conclusive."""

FEWEST = 100
"""The number of losses from which moments are used."""

CELLS = 8
"""Histogram cells per bandwidth."""


def wrong_share(losses: NDArray[np.floating]) -> float:
    """Return the share of the samples in a separate group with higher losses.

    If many labels are wrong and have not been memorized, the losses form two groups with a valley
    between them; those of right but hard samples decay without one. So the density of the losses'
    cube roots is estimated with a Gaussian kernel, and its deepest valley is located: the point
    whose density is furthest below the lower of the highest densities on either side. If it is
    lower by three standard errors, the share above it is returned. The cube root makes the losses
    of a single group nearly normal (Wilson & Hilferty 1931, for gamma distributions), so that a
    skewed group has one mode and a long tail none.

    Two groups that overlap leave no valley. They are detected by the moments of the losses
    (`share_of_outliers`), which determine the size of the second one less exactly.

    It is conservative: it finds neither wrong labels that have been memorized nor, among a thousand
    samples, groups of a tenth or less. A group of more than half of the samples does not count as
    wrong labels. Many losses of exactly the lowest value, as with a hinge loss, do not count as a
    group either.

    Arguments:
        losses: shape (n,), finite, per sample, of a model that is at least a quarter through its
            training.
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
    """Return the share by mean, spread and skewness, if a few samples are enough to tell it."""
    mean, spread = float(values.mean()), float(values.std())
    if values.size < FEWEST or spread == 0 or mean <= 0 or values.min() < 0:
        return 0.0
    skewness = float((((values - mean) / spread) ** 3).mean())
    error = float(np.sqrt(6 / values.size))  # for normally distributed losses
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
    # a sum of kernels of height 1 at n random positions has about the variance (its mean)/√2
    error = np.sqrt((lower_hill[valley] + density[valley]) / np.sqrt(2))
    if depth <= DEPTH * error:
        return 0.0
    share = float(np.mean(values > values.min() + edges[valley + 1] ** 3))
    return share if share <= 0.5 else 0.0


def _kernel_width(values: Numbers) -> float:
    """Return the standard deviation of the kernel, 0 if no density can be estimated."""
    if values.size < 2:
        return 0.0
    low, high = np.quantile(values, [0.25, 0.75]).tolist()
    spread = float(values.std())
    if high > low:
        spread = min(spread, (high - low) / 1.349)  # the interquartile range of N(0, 1)
    # a few extreme outliers would otherwise require too many cells
    width: float = max(0.9 * spread * values.size**-0.2, float(np.ptp(values)) / 10_000)
    return width


def _density(values: Numbers, width: float) -> tuple[Numbers, Numbers]:
    """Return sums of Gaussian kernels of height 1 at the cells of a histogram, and their edges."""
    low, high = values.min() - 3 * width, values.max() + 3 * width
    cells = int((high - low) / width * CELLS)
    counts, edges = np.histogram(values, cells, (low, high))
    reach = np.arange(-4 * CELLS, 4 * CELLS + 1)
    kernel = np.exp(-0.5 * np.square(reach * (edges[1] - edges[0]) / width))
    # as many values as cells, even if the kernel is wider
    density = np.convolve(counts, kernel)[4 * CELLS : 4 * CELLS + cells]
    return density, edges
