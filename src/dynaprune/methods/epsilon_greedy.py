"""The ε-greedy bandit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..utils.validation import check_share
from ._budget import Saving, count_share
from ._exact_share import ExactShare
from ._ranking import highest, some_of


class EpsilonGreedy(ExactShare):
    """Keeps the samples with the highest scores, and a few random ones of the others.

    Of the samples that an epoch keeps, a share 1 − ε has the highest scores, and a share ε is drawn
    uniformly from all others, so that each sample is visited from time to time and its score stays
    up to date. All weights are 1.

    While all scores are equal, as in the first epoch, it keeps a uniform share.

    Source: Raju, Daruwalla & Lipasti, "Accelerating Deep Learning with Dynamic Data Pruning",
    arXiv:2111.12621.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        saving: the share of all sample visits of the run to skip, in [0, 1); a run of E complete
            epochs meets it exactly, if at least one sample is kept in each epoch. The first epoch
            of a stream skips nothing, because its samples are not known yet; the others skip more
            to make up for it.
            "auto" skips as much as the losses of batches allow (see `RandomPrune`).
        epsilon: ε, the share of the kept samples that is drawn at random, in [0, 1]; 1 is
            `RandomPrune`. (The `refresh` of other methods is a share of the skipped samples.)
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number, and `saving` is not "auto".
        ValueError: an argument lies outside its range, or `saving` cannot be reached in this number
            of epochs.

    Example:
        >>> from dynaprune import BLS
        >>> from dynaprune.methods import EpsilonGreedy
        >>> train = BLS(EpsilonGreedy(range(1000), num_epochs=10, saving=0.3)).proxy()
        >>> len(train.sampler)
        700
    """

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        saving: Saving = 0.5,
        epsilon: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, saving=saving, seed=seed)
        self.epsilon = check_share("epsilon", epsilon, "[0, 1]")

    def _choose(
        self,
        scores: NDArray[np.float32],
        kept: int,
        generator: torch.Generator,
        **extra_inputs: Any,
    ) -> NDArray[np.bool_]:
        explored = count_share(self.epsilon, kept)
        chosen = highest(scores, kept - explored, generator)
        chosen |= some_of(~chosen, explored, generator)
        return chosen
