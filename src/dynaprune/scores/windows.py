"""Losses relative to those around them, so that the scale of losses does not matter."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

LENGTH = 128
"""Measurements that are compared with each other: many enough to rank them, few enough that the
model hardly changes among them."""

SURE = 6.0
"""F statistic above which a trend is removed: one in fifty windows without a trend exceeds it."""

FEWEST = 8
"""Fewest measurements of a window in which a trend is looked for."""

Numbers = NDArray[np.float64]


class Windows:
    """Consecutive measurements in windows of about equal length, from `LENGTH` to twice as many.

    An epoch with fewer measurements is one window.

    Arguments:
        sizes: int64, shape (G,): the number of samples of each measurement.

    Attributes:
        count: the number of windows.
    """

    def __init__(self, sizes: NDArray[np.int64]) -> None:
        self._sizes = sizes
        self.count = max(1, sizes.size // LENGTH)
        self._window = np.arange(sizes.size) * self.count // max(1, sizes.size)
        self._lengths = np.bincount(self._window, minlength=self.count)
        self._samples = np.bincount(self._window, sizes, minlength=self.count)

    def lengths(self) -> NDArray[np.int64]:
        """Return the length of the window of each measurement: shape (G,)."""
        return self._lengths[self._window]

    def centred(self, values: Numbers) -> Numbers:
        """Return values, shape (G,), minus the mean over the samples of their window."""
        sums = np.bincount(self._window, values * self._sizes)
        return values - (sums / self._samples)[self._window]

    def deviations(self, values: Numbers) -> Numbers:
        """Return centred values times the square root of their sizes, shape (G,).

        They all have the same variance: the mean of B values of variance v has the variance v/B.
        """
        deviations: Numbers = self.centred(values) * np.sqrt(self._sizes)
        return deviations

    def measured(self, values: Numbers) -> Numbers:
        """Return normal scores of values, shape (G,), without a trend in their window.

        Losses fall, most of all in the first epochs. If a window's normal scores have a significant
        linear trend, it is subtracted, and the residuals are scored again.
        """
        scores = self.normal_scores(values)
        position = np.arange(scores.size) - self._mean(np.arange(scores.size))
        squares = np.bincount(self._window, position * position)
        slopes = np.bincount(self._window, position * scores) / np.maximum(squares, 1)
        rest = scores - slopes[self._window] * position
        explained = np.bincount(self._window, scores**2 - rest**2)
        left = np.bincount(self._window, rest**2) / np.maximum(self._lengths - 2, 1)
        is_sure = (explained > SURE * left) & (self._lengths >= FEWEST)
        if not is_sure.any():
            return scores
        return self.normal_scores(np.where(is_sure[self._window], rest, scores))

    def _mean(self, values: NDArray[np.int64]) -> Numbers:
        """Return the mean over the window of each value, shape (G,)."""
        means: Numbers = (np.bincount(self._window, values) / self._lengths)[self._window]
        return means

    def normal_scores(self, values: Numbers) -> Numbers:
        """Return the ranks of values, shape (G,), in their windows as normal quantiles.

        The k-th of W values gets the quantile (k − ½)/W of the standard normal distribution; ties
        share their mean rank. Source: van der Waerden (1952), with Hazen's plotting positions.
        """
        order = np.lexsort((values, self._window))  # by window, then by value
        ordered, window = values[order], self._window[order]
        is_other = (ordered[1:] != ordered[:-1]) | (window[1:] != window[:-1])
        run = np.concatenate([[0], np.cumsum(is_other)])
        before = np.cumsum(self._lengths) - self._lengths
        places = np.arange(ordered.size) - before[window] + 0.5
        places = (np.bincount(run, places) / np.bincount(run))[run]
        scores = np.empty(ordered.size)
        scores[order] = normal_quantiles(places / self._lengths[window])
        return scores


def means(values: NDArray[np.floating], sizes: NDArray[np.int64]) -> Numbers:
    """Return the means of consecutive slices of values, shape (M,), of these sizes: shape (G,)."""
    starts = np.cumsum(sizes) - sizes
    found: Numbers = np.add.reduceat(values, starts, dtype=np.float64) / sizes
    return found


def normal_quantiles(shares: Numbers) -> Numbers:
    """Return quantiles of the standard normal distribution at `shares`: of the same shape."""
    quantiles: Numbers = torch.special.ndtri(torch.from_numpy(shares)).numpy()
    return quantiles
