"""How the losses of single samples are distributed, told from the losses of batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..outliers import LossShape
from .windows import Windows

KEPT = 0.7
"""What an epoch counts an epoch later."""


class Moments:
    """The moments of the losses of single samples, over the epochs that have served everything.

    The mean of B independent losses of mean m, variance v and third central moment t has the mean
    m, the variance v/B and the third moment t/B². So batches tell all three, and the more of them
    there are for their size, the better. Epochs count less the longer they are over.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(3)  # of ones, variations and skewnesses

    def add(self, sizes: NDArray[np.int64], losses: NDArray[np.float32]) -> None:
        """Take down an epoch.

        Arguments:
            sizes: shape (G,): the number of samples of each measurement.
            losses: shape (G,).
        """
        windows, values = Windows(sizes), losses.astype(np.float64)
        mean = float(values @ sizes) / float(sizes.sum())
        deviations = windows.deviations(values)
        # of the W values of a window, less their mean, W − 1 are free
        freedom = values.size - windows.count
        squares = float(deviations @ deviations)
        if freedom <= 0 or squares <= 0 or mean <= 0:
            return
        spread = math.sqrt(squares / freedom)
        skewness = float((deviations / spread) ** 3 @ np.sqrt(sizes)) / freedom
        self._sums = KEPT * self._sums + [1.0, spread / mean, skewness]

    @property
    def shape(self) -> LossShape | None:
        """The distribution; `None` before the first epoch that served everything has ended."""
        epochs, variation, skewness = self._sums.tolist()
        return LossShape(variation / epochs, skewness / epochs) if epochs > 0 else None

    def state(self) -> list[float]:
        """Return plain values from which `restore` goes on."""
        sums: list[float] = self._sums.tolist()
        return sums

    def restore(self, state: Sequence[float]) -> None:
        """Go on from what `state` returned."""
        self._sums = np.array([float(each) for each in state])
