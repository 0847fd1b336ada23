"""The baseline that every method has to beat at the same number of sample visits."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..planning.selection import Selection
from ..scores import BLS, Score
from ..utils.sampling import drawn, where
from ._exact_share import ExactShare


class RandomPrune(ExactShare):
    """Keeps a fresh uniform share of the samples in each epoch, with weight 1.

    With training for fewer epochs it is the baseline for every other method. Over E epochs it
    serves (1 − r)·N·E samples to within one: what rounding takes from one epoch, another gets.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        prune_ratio: r, the share of the samples that an epoch skips, in [0, 1); 0.5 if neither it
            nor `saving` is given. At least one sample is kept.
        saving: in place of it, the share of all sample visits of the run that is to be avoided,
            met exactly by a run of E whole epochs. A stream is served whole at first, as nobody
            knows its samples, and the others skip more for it.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument lies outside its range, both `prune_ratio` and `saving` are given,
            or `saving` cannot be reached in this number of epochs.

    Example:
        >>> from dynaprune import RandomPrune
        >>> len(RandomPrune(range(1000), num_epochs=10, prune_ratio=0.3).sampler)
        700
    """

    default_score: ClassVar[type[Score]] = BLS

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        prune_ratio: float | None = None,
        saving: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, prune_ratio, saving, seed)

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep a uniform share of all samples, with weight 1."""
        total = scores.numel()
        kept = self._num_kept(total, epoch)
        return Selection(where(drawn(kept, total, generator)))
