"""Training on a subset."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..planning.selection import Selection
from ..pruned_dataset import PrunedDataset
from ..scores import BLS, Score
from ..utils.rng import epoch_generator
from ..utils.sampling import nonzero, random_mask
from ..utils.validation import check_share
from ._budget import count_share


class StaticPrune(PrunedDataset):
    """Keeps one uniform share of the samples for the whole run, with weight 1.

    The other samples are never seen: it shows the result of a smaller training set.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs that the run will train.
        prune_ratio: r, the share of the samples that is left out, in [0, 1). At least one sample
            is kept.
        seed: fixes the share, and the order of each epoch.

    Example:
        >>> from dynaprune import StaticPrune
        >>> len(StaticPrune(range(1000), num_epochs=10, prune_ratio=0.3).sampler)
        700
    """

    default_score: ClassVar[type[Score]] = BLS

    def __init__(
        self, dataset: Any, num_epochs: int, *, prune_ratio: float = 0.5, seed: int = 0
    ) -> None:
        super().__init__(dataset, num_epochs, seed=seed)
        self.prune_ratio = check_share("prune_ratio", prune_ratio)

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep the run's share, the same in every epoch, with weight 1."""
        total = scores.numel()
        kept = max(1, count_share(1 - self.prune_ratio, total))
        generator = epoch_generator(self.seed, epoch=0)  # redrawn, so that no mask must be stored
        return Selection(nonzero(random_mask(kept, total, generator)))
