"""The distribution of per-sample losses, estimated from the losses of batches."""

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
"""Decay of an epoch's weight per later epoch."""

SETTLED = 0.98
"""An epoch counts if its mean loss is at least this share of the previous one's. While losses fall
fast, those of a single kind of samples are nearly normal, which looks like two kinds: when such
epochs counted, one in five runs with right labels was trimmed (see docs/quality.md)."""


class Moments:
    """The moments of per-sample losses, over the epochs that have served all samples.

    The mean of B independent losses of mean m, variance v and third central moment t has the mean
    m, the variance v/B and the third moment t/B². So batches give estimates of all three, which are
    better the more batches there are and the smaller these are. Older epochs count less, and epochs
    in which losses fall fast do not count: see `SETTLED`.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(3)  # of weights, variations and skewnesses
        self._variance = 0.0  # of the sum of skewnesses
        self._last = math.inf  # mean loss of the previous epoch

    def add(self, sizes: NDArray[np.int64], losses: NDArray[np.float32]) -> None:
        """Record an epoch.

        Arguments:
            sizes: shape (G,): the number of samples of each measurement.
            losses: shape (G,).
        """
        windows, values = Windows(sizes), losses.astype(np.float64)
        mean = float(values @ sizes) / float(sizes.sum())
        has_settled, self._last = mean >= SETTLED * self._last, mean
        deviations = windows.deviations(values)
        # each window of W values loses a degree of freedom by subtracting its mean
        freedom = values.size - windows.count
        squares = float(deviations @ deviations)
        if not has_settled or freedom <= 0 or squares <= 0 or mean <= 0:
            return
        spread = math.sqrt(squares / freedom)
        skewness = float((deviations / spread) ** 3 @ np.sqrt(sizes)) / freedom
        # variance of the skewness for normally distributed losses
        variance = 6 * float(sizes.sum()) / freedom**2
        # epochs of many measurements count more
        weight = 1 / variance
        self._sums = KEPT * self._sums + weight * np.array([1.0, spread / mean, skewness])
        self._variance = KEPT**2 * self._variance + weight**2 * variance

    @property
    def shape(self) -> LossShape | None:
        """The distribution; `None` until an epoch that served all samples has settled."""
        weight, variation, skewness = self._sums.tolist()
        if weight == 0:
            return None
        error = math.sqrt(self._variance) / weight
        return LossShape(variation / weight, skewness / weight, error)

    def state(self) -> Tensor:
        """Return a tensor for `restore`."""
        numbers = [*self._sums, self._variance, self._last]
        return torch.tensor(numbers, dtype=torch.float64, device="cpu")

    def restore(self, state: Any) -> None:
        """Continue from what `state` returned.

        Raises:
            RuntimeError: it is damaged.
        """
        *sums, variance, last = check_tensor("moments", state, (5,), torch.float64).tolist()
        # sums of weights and squares; the last mean loss is infinite before the first epoch
        are_possible = np.isfinite([*sums, variance]).all() and sums[0] >= 0 and variance >= 0
        if not are_possible or math.isnan(last) or last == -math.inf:
            raise RuntimeError(
                f"the state is damaged: its moments cannot be {[*sums, variance, last]}"
            )
        self._sums, self._variance, self._last = np.array(sums), variance, last
