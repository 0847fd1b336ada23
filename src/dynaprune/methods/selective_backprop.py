"""Selective Backprop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..utils.percentiles import percentiles
from ._exact_share import ExactShare
from ._unequal import SMALLEST, drawn, inclusion_probabilities


class SelectiveBackprop(ExactShare):
    """Keeps samples with a probability proportional to a power of their score's percentile.

    The probability of a sample is proportional to (its percentile)^β. The percentile is the share
    of all scores below its own, where equal scores, including itself, count half. So ties have
    equal probabilities, and while all scores are equal, as in the first epoch, a uniform share is
    kept. All weights are 1.

    For continuous scores the expected share of kept samples is 1/(1 + β). Here the share r that an
    epoch skips is given, so β = r/(1 − r): 1 keeps a half, 2 a third.

    The paper decides batch by batch, after the forward pass, by the percentile among the most
    recent losses. Here the samples of an epoch are selected before it begins, which also saves the
    forward passes.

    Source: Jiang et al., "Accelerating Deep Learning by Focusing on the Biggest Losers",
    arXiv:1910.00762, section 3.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        saving: the share of all sample visits of the run to skip, in [0, 1); a run of E complete
            epochs meets it exactly, if at least one sample is kept in each epoch. The first epoch
            of a stream skips nothing, because its samples are not known yet; the others skip more
            to make up for it.
            "auto" skips as much as the losses of batches allow (see `RandomPrune`).
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number, and `saving` is not "auto".
        ValueError: an argument lies outside its range, or `saving` cannot be reached in this number
            of epochs.

    Example:
        >>> from dynaprune import BLS
        >>> from dynaprune.methods import SelectiveBackprop
        >>> train = BLS(SelectiveBackprop(range(900), num_epochs=10, saving=2 / 3)).proxy()
        >>> len(train.sampler), round(train.beta, 6)
        (300, 2.0)
    """

    @property
    def beta(self) -> float:
        """β, the power of the percentile; with `saving="auto"` that of the largest share."""
        return self._skipped_share / (1 - self._skipped_share)

    def _choose(
        self,
        scores: NDArray[np.float32],
        kept: int,
        generator: torch.Generator,
        **extra_inputs: Any,
    ) -> NDArray[np.bool_]:
        beta = scores.size / kept - 1 if self.saving == "auto" else self.beta
        sizes = np.maximum(percentiles(scores) ** beta, SMALLEST).astype(np.float32)
        return drawn(inclusion_probabilities(sizes, kept), kept, generator)
