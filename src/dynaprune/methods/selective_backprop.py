"""Selective Backprop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..planning.selection import Selection
from ..utils.percentiles import percentiles
from ..utils.sampling import nonzero
from ..utils.validation import check_either, check_number
from ._exact_share import ExactShare
from ._systematic import inclusion_probabilities, systematic

MOST = 1 - 2.0**-53
"""The largest float64 below 1: the ratio of a very large `beta`, which keeps a single sample."""


class SelectiveBackprop(ExactShare):
    """Keeps samples with a probability proportional to a power of their score's percentile.

    The probability of a sample is proportional to (its percentile)^β. The percentile is the share
    of all scores below its own, where equal scores, including itself, count half. So ties have
    equal probabilities, and while all scores are equal, as in the first epoch, a uniform share is
    kept. All weights are 1.

    For continuous scores the expected share is 1/(1 + β), and exactly that is served: (1 − r)·N·E
    samples over E epochs, up to rounding by one, with r = β/(1 + β). So a run saves the share r of
    its sample visits, if at least one sample is kept in each epoch.

    The paper decides batch by batch, after the forward pass, by the percentile among the most
    recent losses. Here the samples of an epoch are selected before it begins, which also saves the
    forward passes.

    Source: Jiang et al., "Accelerating Deep Learning by Focusing on the Biggest Losers",
    arXiv:1910.00762, section 3.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        prune_ratio: r, the share of the samples that an epoch skips, in [0, 1); 0.5 if neither it
            nor `beta` nor `saving` is given. At least one sample is kept.
        beta: instead of `prune_ratio`, β = r/(1 − r), at least 0: 1 keeps a half, 2 a third.
        saving: instead of `prune_ratio`, the share of all sample visits of the run to skip; a run
            of E complete epochs meets it exactly. The first epoch of a stream skips nothing,
            because its samples are not known yet; the others skip more to make up for it.
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
        # large enough to differ from 0, for any β
        sizes = np.maximum(percentiles(scores.numpy()) ** self.beta, 1e-30)
        probabilities = inclusion_probabilities(sizes, kept)
        return Selection(nonzero(systematic(probabilities, kept, generator)))
