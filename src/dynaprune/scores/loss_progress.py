"""How far a training has come, read from the losses of batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..utils.validation import check_tensor
from .windows import Windows

KEPT = 0.6
"""Decay of an epoch's weight per later epoch: an epoch of few batches estimates the variation to
within a tenth, and the variation changes from epoch to epoch."""


@dataclass(frozen=True)
class LossProgress:
    """How the losses of single samples are spread, and how fast they fall.

    Attributes:
        variation: their coefficient of variation, standard deviation over mean, at least 0.
        fall: by how much the mean loss has fallen in the last epoch, relative to the epoch before:
            at most 1, which it is where nothing is known, and negative where the loss has risen.
    """

    variation: float
    fall: float


class ProgressEstimate:
    """Estimates a `LossProgress`; the last epochs count most.

    The mean of B independent losses of variance v has the variance v/B, so the batches of an epoch
    tell v. Losses fall within an epoch, too, which is no variance: a linear trend is subtracted.

    The epochs may skip samples, if these are chosen at random. If they are chosen by score, the
    estimate is that of the samples that were kept.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(2)  # of weights and variations
        self._last, self._fall = math.inf, 1.0

    def add(self, sizes: NDArray[np.int64], losses: NDArray[np.float32]) -> None:
        """Record an epoch.

        Arguments:
            sizes: shape (G,): the number of samples of each measurement.
            losses: shape (G,).
        """
        windows, values = Windows(sizes), losses.astype(np.float64)
        mean = float(values @ sizes) / float(sizes.sum())
        if mean <= 0:  # such losses have no meaningful ratio
            self._sums, self._last, self._fall = np.zeros(2), math.inf, 1.0
            return
        self._fall, self._last = 1 - mean / self._last, mean
        # each window loses a degree of freedom by its mean, and the trend takes another
        freedom = values.size - windows.count - 1
        if freedom <= 0:
            return
        deviations = _without_trend(windows.deviations(values))
        variation = math.sqrt(float(deviations @ deviations) / freedom) / mean
        self._sums = KEPT * self._sums + np.array([1.0, variation])

    @property
    def value(self) -> LossProgress | None:
        """The progress; `None` before the first epoch, or if losses are not positive."""
        weight, variation = self._sums.tolist()
        return LossProgress(variation / weight, self._fall) if weight > 0 else None

    def state(self) -> Tensor:
        """Return a tensor for `restore`."""
        numbers = [*self._sums, self._last, self._fall]
        return torch.tensor(numbers, dtype=torch.float64, device="cpu")

    def restore(self, state: Any) -> None:
        """Continue from what `state` returned.

        Raises:
            RuntimeError: it is damaged.
        """
        *sums, last, fall = check_tensor("progress", state, (4,), torch.float64).tolist()
        if not (np.isfinite([*sums, fall]).all() and min(sums) >= 0 and last > 0 and fall <= 1):
            raise RuntimeError(
                f"the state is damaged: its progress cannot be {[*sums, last, fall]}"
            )
        self._sums, self._last, self._fall = np.array(sums), last, fall


def _without_trend(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values of mean 0, shape (G,), minus their linear trend."""
    places = np.linspace(-1, 1, values.size)
    slope = float(values @ places) / float(places @ places)
    rest: NDArray[np.float64] = values - slope * places
    return rest
