"""Selective Backprop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..drawing import where
from ..percentiles import percentiles
from ..plan import Selection
from ..pruned import PrunedDataset
from ..validation import check_either, check_number, check_share, count_share_of_epoch
from .systematic import inclusion_probabilities, systematic


class SelectiveBackprop(PrunedDataset):
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
            nor `beta` is given. At least one sample is kept.
        beta: in place of it, β = r/(1 − r), at least 0: 1 keeps a half, 2 a third.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument lies outside its range, or both `prune_ratio` and `beta` are given.

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
        prune_ratio: float | None = None,
        *,
        beta: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, seed=seed)
        check_either("prune_ratio", prune_ratio, "beta", beta)
        if beta is None:
            ratio = check_share("prune_ratio", 0.5 if prune_ratio is None else prune_ratio)
            beta = ratio / (1 - ratio)
        self.beta = check_number("beta", beta, minimum=0)

    @property
    def prune_ratio(self) -> float:
        """The share of the samples that an epoch skips."""
        return self.beta / (1 + self.beta)

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep samples in proportion to their percentile to the power of β, with weight 1."""
        total = scores.numel()
        kept = max(1, count_share_of_epoch(1 / (1 + self.beta), total, epoch))
        # not too small to be told from 0, whatever β
        sizes = np.maximum(percentiles(scores.numpy()) ** self.beta, 1e-30)
        probabilities = inclusion_probabilities(sizes, kept)
        return Selection(where(systematic(probabilities, kept, generator)))
