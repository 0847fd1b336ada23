"""The ε-greedy bandit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..planning.selection import Selection
from ..utils.sampling import nonzero
from ..utils.validation import check_share
from ._budget import count_share
from ._exact_share import ExactShare
from ._ranking import highest, some_of


class EpsilonGreedy(ExactShare):
    """Keeps the samples with the highest scores, and a few random ones of the others.

    Of the (1 − r)·N samples that an epoch keeps, a share 1 − ε has the highest scores, and a share
    ε is drawn uniformly from all others, so that each sample is visited from time to time and its
    score stays up to date. All weights are 1. Over E epochs it serves (1 − r)·N·E samples, up to
    rounding by one, so a run saves the share r of its sample visits, if at least one sample is kept
    in each epoch.

    While all scores are equal, as in the first epoch, it keeps a uniform share.

    Source: Raju, Daruwalla & Lipasti, "Accelerating Deep Learning with Dynamic Data Pruning",
    arXiv:2111.12621.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        prune_ratio: r, the share of the samples that an epoch skips, in [0, 1); 0.5 if neither it
            nor `saving` is given. At least one sample is kept.
        saving: instead of `prune_ratio`, the share of all sample visits of the run to skip; a run
            of E complete epochs meets it exactly. The first epoch of a stream skips nothing,
            because its samples are not known yet; the others skip more to make up for it.
        epsilon: ε, the share of those kept that is drawn at random, in [0, 1]; 1 is `RandomPrune`.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument lies outside its range, both `prune_ratio` and `saving` are given,
            or `saving` cannot be reached in this number of epochs.

    Example:
        >>> from dynaprune import BLS, EpsilonGreedy
        >>> train = BLS(EpsilonGreedy(range(1000), num_epochs=10, prune_ratio=0.3)).proxy()
        >>> len(train.sampler)
        700
    """

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        prune_ratio: float | None = None,
        epsilon: float = 0.1,
        saving: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, prune_ratio, saving, seed)
        self.epsilon = check_share("epsilon", epsilon, "[0, 1]")

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep the highest scores and a few of the others, with weight 1."""
        kept = self._num_kept(scores.numel(), epoch)
        explored = count_share(self.epsilon, kept)
        chosen = highest(scores.numpy(), kept - explored, generator)
        chosen |= some_of(~chosen, explored, generator)
        return Selection(nonzero(chosen))
