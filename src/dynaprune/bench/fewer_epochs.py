"""The other baseline: full training for as many sample visits as a method makes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..methods import NoPrune
from ..planning.selection import Selection
from ..utils.sampling import all_indices, nonzero, random_mask
from ..utils.validation import check_integer, check_map_style


class FewerEpochs(NoPrune):
    """Trains on everything, epoch after epoch, for a number of sample visits.

    The last epoch serves a random part where they make no whole number of epochs.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_visits: how many sample visits the run makes.
        seed: fixes the order of each epoch.
    """

    def __init__(self, dataset: Any, num_visits: int, *, seed: int = 0) -> None:
        self.num_visits = check_integer("num_visits", num_visits, minimum=1)
        super().__init__(dataset, math.ceil(self.num_visits / check_map_style(dataset)), seed=seed)

    @property
    def progress(self) -> float:
        """The run's position, in epochs of the same number of visits each.

        So that a schedule that follows it does not hurry through a short last epoch.
        """
        return self.num_epochs * min(1.0, self.summary().visits_made / self.num_visits)

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep everything, or what is left in the last epoch."""
        total = scores.numel()
        left = self.num_visits - epoch * total
        if left >= total:
            return Selection(all_indices(total))
        return Selection(nonzero(random_mask(max(1, left), total, generator)))
