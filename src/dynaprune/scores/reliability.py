"""How far scores can be trusted, estimated from the losses of batches alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..utils.validation import check_tensor
from .windows import Numbers, Windows, means, normal_quantiles

MEASUREMENTS = 1 << 10
"""The last measurements of an epoch that are used: enough for a standard error of 1/32, and, where
each sample has its own loss, few enough to cost little of an epoch of small steps."""

SAMPLES = 1 << 15
"""The last samples of an epoch that are used: enough for an estimate, and cheap."""

WEAK = 0.2
"""A rank correlation with losses below which scores are called weak: a choice by them is close to a
random one."""

ENOUGH = 400
"""Measurements behind an estimate, if epochs are short: its standard error is then
1/√400 = 0.05."""


class Reliability:
    """The correlation between scores and per-sample losses, estimated without the latter.

    Before an epoch's losses change the scores, the mean score of each batch is compared with the
    batch's loss. Batches are drawn at random, so with B samples in each, both the covariance of the
    two means and their variances are 1/B of those of single samples, and the correlation is the
    same: corr(mean score, mean loss) over batches estimates corr(score, loss) over samples. Scores
    and losses are replaced by normal scores, which makes it a rank correlation. Older epochs count
    less, if later ones have enough measurements.

    It describes the samples that are served, and their losses in training: with dropout and
    augmentation these are less informative than losses in evaluation mode.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(3)  # of products: score times loss, squared scores, squared losses

    @property
    def value(self) -> float:
        """The estimate, from −1 to 1; NaN before the second epoch."""
        both, scores, losses = self._sums.tolist()
        return both / math.sqrt(scores * losses) if scores > 0 and losses > 0 else math.nan

    def compare(
        self, scores: NDArray[np.float32], sizes: NDArray[np.int64], losses: NDArray[np.float32]
    ) -> None:
        """Record an epoch.

        Arguments:
            scores: shape (M,): the scores of the samples of all measurements, before the epoch.
            sizes: shape (G,): the number of samples of each measurement.
            losses: shape (G,).
        """
        if sizes.size < 2:
            return
        windows = Windows(sizes)
        expected = windows.deviations(means(_normal_scores(scores), sizes))
        found = windows.measured(windows.deviations(losses.astype(np.float64)))
        products = [expected @ found, expected @ expected, found @ found]
        self._sums = self._sums * min(0.95, max(0.5, 1 - sizes.size / ENOUGH)) + products

    def state(self) -> Tensor:
        """Return a tensor for `restore`."""
        return torch.tensor(self._sums, dtype=torch.float64, device="cpu")

    def restore(self, state: Any) -> None:
        """Continue from what `state` returned.

        Raises:
            RuntimeError: it is damaged.
        """
        sums = check_tensor("reliability", state, (3,), torch.float64).numpy().copy()
        if not np.isfinite(sums).all() or (sums[1:] < 0).any():  # the latter are sums of squares
            raise RuntimeError(f"the state is damaged: its reliability cannot be {sums.tolist()}")
        self._sums = sums


def _normal_scores(values: NDArray[np.float32]) -> Numbers:
    """Return the places of values, shape (M,), among each other as normal quantiles.

    Equal ones share their mean place. A value and its place are sorted as one integer, in half the
    time of an `argsort`: but for the sign, the bits of floats ascend as these do.
    """
    bits = (values + np.float32(0)).view(np.int32)  # -0.0 equals 0.0
    bits ^= (bits >> 31) & np.int32(0x7FFF_FFFF)
    both = bits.astype(np.int64)
    both <<= 32
    both |= np.arange(bits.size)
    both.sort()
    ordered = both >> 32
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    counts = np.diff(starts, append=bits.size)
    both &= 0xFFFF_FFFF  # the places alone
    scores = np.empty(bits.size)
    scores[both] = normal_quantiles((starts + counts / 2) / bits.size).repeat(counts)
    return scores
