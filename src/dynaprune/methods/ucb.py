"""Upper confidence bounds, a bandit method."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..planning.selection import Selection
from ..utils.sampling import nonzero
from ..utils.validation import check_number
from ._exact_share import ExactShare
from ._ranking import highest


class UCB(ExactShare):
    """Keeps the samples with the highest upper confidence bounds of their loss, score + c·error.

    A sample that was not visited for long is uncertain, so it is visited again without a random
    draw. If the score estimates its errors (`KalmanBLS`), these are used. If not, a sample that was
    measured v times, out of V measurements of all samples, has the error σ·√(ln V / v), where σ is
    the standard deviation of the scores; samples that were never measured come first. The paper
    uses the variance of each sample's loss over time. A moving average does not provide it, so the
    number of measurements is used instead.

    All weights are 1. Over E epochs it serves (1 − r)·N·E samples, up to rounding by one, so a run
    saves the share r of its sample visits, if at least one sample is kept in each epoch.

    Source: Raju, Daruwalla & Lipasti, "Accelerating Deep Learning with Dynamic Data Pruning",
    arXiv:2111.12621; UCB1 of Auer, Cesa-Bianchi & Fischer, Machine Learning 47 (2002).

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        prune_ratio: r, the share of the samples that an epoch skips, in [0, 1); 0.5 if neither it
            nor `saving` is given. At least one sample is kept.
        saving: instead of `prune_ratio`, the share of all sample visits of the run to skip; a run
            of E complete epochs meets it exactly. The first epoch of a stream skips nothing,
            because its samples are not known yet; the others skip more to make up for it.
        c: how many errors the bound is above the score, at least 0; at 0 it is the score itself.
            With errors that the score estimates, c is a number of standard errors; otherwise bounds
            are wider.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument lies outside its range, both `prune_ratio` and `saving` are given,
            or `saving` cannot be reached in this number of epochs.

    Example:
        >>> from dynaprune import BLS, UCB
        >>> train = BLS(UCB(range(1000), num_epochs=10, prune_ratio=0.3)).proxy()
        >>> len(train.sampler)
        700
    """

    extra_inputs: tuple[str, ...] = ("errors", "visits")

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        prune_ratio: float | None = None,
        c: float = 1.0,
        saving: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, prune_ratio, saving, seed)
        self.c = check_number("c", c, minimum=0)

    def select(  # type: ignore[override]  # it takes more than scores
        self,
        scores: Tensor,
        epoch: int,
        generator: torch.Generator,
        errors: Tensor | None,
        visits: Tensor,
    ) -> Selection:
        """Keep the samples with the highest bounds, with weight 1."""
        kept = self._num_kept(scores.numel(), epoch)
        values: NDArray[np.float32] = scores.numpy()
        if errors is None:
            bounds = ucb1(values, visits.numpy(), self.c)
        else:
            bounds = values + np.float32(self.c) * errors.numpy()
        return Selection(nonzero(highest(bounds, kept, generator)))


def ucb1(values: NDArray[np.float32], visits: NDArray[np.int32], c: float) -> NDArray[np.float32]:
    """Return value + c·σ·√(ln V / v), infinite for samples never visited: shape (N,).

    Arguments:
        values: shape (N,).
        visits: v, how often each one was measured: shape (N,).
        c: the factor of the errors.
    """
    total = max(1, int(visits.sum(dtype=np.int64)))
    scale = c * float(values.std(dtype=np.float64)) * np.sqrt(np.log(total))
    bounds: NDArray[np.float32] = np.sqrt(1 / np.maximum(visits, 1)).astype(np.float32)
    bounds *= np.float32(scale)
    bounds += values
    bounds[visits == 0] = np.inf
    return bounds
