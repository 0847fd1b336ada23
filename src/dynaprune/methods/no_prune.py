"""Full training."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..planning.selection import Selection
from ..pruned_dataset import PrunedDataset
from ..scores import BLS, Score
from ..utils.sampling import all_indices


class NoPrune(PrunedDataset):
    """Keeps every sample in every epoch: full training, with scores.

    The loop is the same as with any other method, so use it to compare a run with full training, or
    to score a run without changing it. `update` takes mean losses and loss vectors.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs that the run will train.
        seed: fixes the order in which samples are served.

    Example:
        >>> from dynaprune import NoPrune
        >>> len(NoPrune(range(1000), num_epochs=10).sampler)
        1000
    """

    default_score: ClassVar[type[Score]] = BLS

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep all samples, with weight 1."""
        return Selection(all_indices(scores.numel()))
