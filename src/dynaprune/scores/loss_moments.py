"""How the losses of single samples are distributed, told from the losses of batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..utils.validation import check_tensor
from .loss_shape import LossShape
from .windows import Windows

KEPT = 0.8
"""What an epoch counts an epoch later."""

SETTLED = 0.98
"""The mean loss of an epoch over that of the one before from which on it counts. While a model
learns the first things, the losses of samples of one kind are about normally distributed, and so
seem to be of two kinds: with these epochs, a share was trimmed in one in five runs on right labels
(see docs/quality.md)."""


class Moments:
    """The moments of the losses of single samples, over the epochs that have served everything.

    The mean of B independent losses of mean m, variance v and third central moment t has the mean
    m, the variance v/B and the third moment t/B². So batches tell all three, and the more of them
    there are for their size, the better. Epochs count less the longer they are over, and not at all
    while losses fall fast: see `SETTLED`.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(3)  # of weights, variations and skewnesses
        self._variance = 0.0  # of the last of these sums
        self._last = math.inf  # mean loss of the epoch before

    def add(self, sizes: NDArray[np.int64], losses: NDArray[np.float32]) -> None:
        """Take down an epoch.

        Arguments:
            sizes: shape (G,): the number of samples of each measurement.
            losses: shape (G,).
        """
        windows, values = Windows(sizes), losses.astype(np.float64)
        mean = float(values @ sizes) / float(sizes.sum())
        has_settled, self._last = mean >= SETTLED * self._last, mean
        deviations = windows.deviations(values)
        # of the W values of a window, less their mean, W − 1 are free
        freedom = values.size - windows.count
        squares = float(deviations @ deviations)
        if not has_settled or freedom <= 0 or squares <= 0 or mean <= 0:
            return
        spread = math.sqrt(squares / freedom)
        skewness = float((deviations / spread) ** 3 @ np.sqrt(sizes)) / freedom
        # that of normally distributed losses
        variance = 6 * float(sizes.sum()) / freedom**2
        # epochs of many measurements count more
        weight = 1 / variance
        self._sums = KEPT * self._sums + weight * np.array([1.0, spread / mean, skewness])
        self._variance = KEPT**2 * self._variance + weight**2 * variance

    @property
    def shape(self) -> LossShape | None:
        """The distribution; `None` before an epoch that served everything has settled."""
        weight, variation, skewness = self._sums.tolist()
        if weight == 0:
            return None
        error = math.sqrt(self._variance) / weight
        return LossShape(variation / weight, skewness / weight, error)

    def state(self) -> Tensor:
        """Return a tensor from which `restore` goes on."""
        numbers = [*self._sums, self._variance, self._last]
        return torch.tensor(numbers, dtype=torch.float64, device="cpu")

    def restore(self, state: Any) -> None:
        """Go on from what `state` returned.

        Raises:
            RuntimeError: it is damaged.
        """
        *sums, variance, last = check_tensor("moments", state, (5,), torch.float64).tolist()
        # of weights, of squares; the last mean loss is infinite before the first epoch
        are_possible = np.isfinite([*sums, variance]).all() and sums[0] >= 0 and variance >= 0
        if not are_possible or math.isnan(last) or last == -math.inf:
            raise RuntimeError(
                f"the state is damaged: its moments cannot be {[*sums, variance, last]}"
            )
        self._sums, self._variance, self._last = np.array(sums), variance, last
