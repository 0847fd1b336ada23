"""The baseline that every method has to beat at the same number of sample visits."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..drawing import drawn, where
from ..plan import Selection
from ..pruned import PrunedDataset
from ..scores import BLS, Score
from ..validation import check_share, count_share_of_epoch


class RandomPrune(PrunedDataset):
    """Keeps a fresh uniform share of the samples in each epoch, with weight 1.

    With training for fewer epochs it is the baseline for every other method. Over E epochs it
    serves (1 − r)·N·E samples to within one: what rounding takes from one epoch, another gets.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        prune_ratio: r, the share of the samples that an epoch skips, in [0, 1). At least one
            sample is kept.
        seed: fixes the samples of each epoch and their order.

    Example:
        >>> from dynaprune import RandomPrune
        >>> len(RandomPrune(range(1000), num_epochs=10, prune_ratio=0.3).sampler)
        700
    """

    default_score: ClassVar[type[Score]] = BLS

    def __init__(
        self, dataset: Any, num_epochs: int, prune_ratio: float = 0.5, *, seed: int = 0
    ) -> None:
        super().__init__(dataset, num_epochs, seed=seed)
        self.prune_ratio = check_share("prune_ratio", prune_ratio)

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep a uniform share of all samples, with weight 1."""
        total = scores.numel()
        kept = max(1, count_share_of_epoch(1 - self.prune_ratio, total, epoch))
        return Selection(where(drawn(kept, total, generator)))
