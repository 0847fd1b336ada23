"""A baseline: full training for fewer epochs, with a given number of sample visits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..methods import NoPrune
from ..methods._budget import count_share
from ..planning.selection import Selection
from ..utils.sampling import all_indices, nonzero, random_mask
from ..utils.validation import check_integer, check_map_style


def visits_left(data: Any, epochs: int, saved: float) -> int:
    """Return the sample visits of a run of full epochs, without the share that is saved.

    Arguments:
        data: a dataset of N samples.
        epochs: the number of epochs of full training.
        saved: the share of all its visits, in [0, 1).
    """
    total = len(data) * epochs
    return total - count_share(saved, total)


class FewerEpochs(NoPrune):
    """Trains on all samples in each epoch, until it has made a number of sample visits.

    If the visits are not a multiple of N, the last epoch serves a random part of the samples.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_visits: the number of sample visits of the run.
        seed: fixes the order of each epoch.
    """

    def __init__(self, dataset: Any, num_visits: int, *, seed: int = 0) -> None:
        self.num_visits = check_integer("num_visits", num_visits, minimum=1)
        super().__init__(dataset, math.ceil(self.num_visits / check_map_style(dataset)), seed=seed)

    @property
    def progress(self) -> float:
        """The position of the run, with each epoch counted as an equal share of the visits.

        A schedule that follows it advances evenly, even if the last epoch is shorter.
        """
        return self.num_epochs * min(1.0, self.summary().visits_made / self.num_visits)

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep all samples; in the last epoch, as many as there are visits left."""
        total = scores.numel()
        left = self.num_visits - epoch * total
        if left >= total:
            return Selection(all_indices(total))
        return Selection(nonzero(random_mask(max(1, left), total, generator)))
