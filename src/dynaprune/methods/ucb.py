"""Upper confidence bounds, a bandit method."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..utils.validation import check_number
from ._budget import Saving
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

    All weights are 1.

    Source: Raju, Daruwalla & Lipasti, "Accelerating Deep Learning with Dynamic Data Pruning",
    arXiv:2111.12621; UCB1 of Auer, Cesa-Bianchi & Fischer, Machine Learning 47 (2002).

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        saving: the share of all sample visits of the run to skip, in [0, 1); a run of E complete
            epochs meets it exactly, if at least one sample is kept in each epoch. The first epoch
            of a stream skips nothing, because its samples are not known yet; the others skip more
            to make up for it.
            "auto" skips as much as the losses of batches allow (see `RandomPrune`).
        c: how many errors the bound is above the score, at least 0; at 0 it is the score itself.
            With errors that the score estimates, c is a number of standard errors; otherwise bounds
            are wider.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number, and `saving` is not "auto".
        ValueError: an argument lies outside its range, or `saving` cannot be reached in this number
            of epochs.

    Example:
        >>> from dynaprune import BLS
        >>> from dynaprune.methods import UCB
        >>> train = BLS(UCB(range(1000), num_epochs=10, saving=0.3)).proxy()
        >>> len(train.sampler)
        700
    """

    extra_inputs: tuple[str, ...] = ("errors", "visits")

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        saving: Saving = 0.5,
        c: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, saving=saving, seed=seed)
        self.c = check_number("c", c, minimum=0)

    def _choose(
        self,
        scores: NDArray[np.float32],
        kept: int,
        generator: torch.Generator,
        **extra_inputs: Any,
    ) -> NDArray[np.bool_]:
        errors: Tensor | None = extra_inputs["errors"]
        if errors is None:
            bounds = ucb1(scores, extra_inputs["visits"].numpy(), self.c)
        else:
            bounds = scores + np.float32(self.c) * errors.numpy()
        return highest(bounds, kept, generator)


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
