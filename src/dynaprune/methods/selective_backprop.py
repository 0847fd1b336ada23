"""Selective Backprop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..planning.selection import Selection
from ..utils.percentiles import percentiles
from ..utils.sampling import where
from ..utils.validation import check_either, check_number
from ._exact_share import ExactShare
from ._systematic import inclusion_probabilities, systematic

MOST = 1 - 2.0**-53
"""The highest share below 1: of a `beta` beyond it, one sample is kept."""


class SelectiveBackprop(ExactShare):
    """Keeps a sample the more probably the higher its score ranks: with its percentile to a power.

    The chance of a sample is proportional to (the share of all scores below its own)^β, those that
    are equal, and half of itself, counting half. Ties so have equal chances, and while all scores
    are equal, as in the first epoch, a uniform share is kept. All weights are 1.

    Of continuous scores that is a share 1/(1 + β), and exactly that is served: (1 − r)·N·E samples
    over E epochs to within one, with r = β/(1 + β). So a run saves the share r of its sample
    visits, if at least one sample is kept in each epoch.

    The paper decides batch by batch, after the forward pass, by the percentile among the last
    losses; here an epoch is decided before it begins, so that the forward passes are saved too.

    Source: Jiang et al., "Accelerating Deep Learning by Focusing on the Biggest Losers",
    arXiv:1910.00762, section 3.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        prune_ratio: r, the share of the samples that an epoch skips, in [0, 1); 0.5 if neither it
            nor `beta` nor `saving` is given. At least one sample is kept.
        beta: in place of it, β = r/(1 − r), at least 0: 1 keeps a half, 2 a third.
        saving: in place of it, the share of all sample visits of the run that is to be avoided,
            met exactly by a run of E whole epochs. A stream is served whole at first, as nobody
            knows its samples, and the others skip more for it.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument lies outside its range, two of `prune_ratio`, `beta` and `saving`
            are given, or `saving` cannot be reached in this number of epochs.

    Example:
        >>> from dynaprune import BLS, SelectiveBackprop
        >>> train = BLS(SelectiveBackprop(range(900), num_epochs=10, beta=2)).proxy()
        >>> len(train.sampler)
        300
    """

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        prune_ratio: float | None = None,
        beta: float | None = None,
        saving: float | None = None,
        seed: int = 0,
    ) -> None:
        check_either("prune_ratio", prune_ratio, "beta", beta)
        check_either("beta", beta, "saving", saving)
        if beta is not None:
            beta = check_number("beta", beta, minimum=0)
            prune_ratio = min(beta / (1 + beta), MOST)
        super().__init__(dataset, num_epochs, prune_ratio, saving, seed)
        self.beta = self.prune_ratio / (1 - self.prune_ratio) if beta is None else beta

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep samples in proportion to their percentile to the power of β, with weight 1."""
        total = scores.numel()
        kept = self._num_kept(total, epoch)
        # not too small to be told from 0, whatever β
        sizes = np.maximum(percentiles(scores.numpy()) ** self.beta, 1e-30)
        probabilities = inclusion_probabilities(sizes, kept)
        return Selection(where(systematic(probabilities, kept, generator)))
