"""Training on a subset."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..scores import BLS, Score
from ..utils.rng import epoch_generator
from ..utils.sampling import random_mask
from ..utils.validation import check_share
from ._budget import count_share
from ._exact_share import ExactShare


class StaticPrune(ExactShare):
    """Keeps one uniform share of the samples for the whole run, with weight 1.

    The other samples are never seen: it shows the result of a smaller training set.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs that the run will train.
        saving: the share of all sample visits of the run to skip, in [0, 1). Each epoch skips the
            same number of samples, so a run meets it up to half a sample in each epoch. The first
            epoch of a stream skips nothing, because its samples are not known yet; the others skip
            more to make up for it. At least one sample is kept.
        seed: fixes the share, and the order of each epoch.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument lies outside its range, or `saving` cannot be reached in this number
            of epochs.

    Example:
        >>> from dynaprune.methods import StaticPrune
        >>> len(StaticPrune(range(1000), num_epochs=10, saving=0.3).sampler)
        700
    """

    default_score: ClassVar[type[Score]] = BLS

    def __init__(
        self, dataset: Any, num_epochs: int, *, saving: float = 0.5, seed: int = 0
    ) -> None:
        # no "auto": the share is the same in all epochs
        super().__init__(dataset, num_epochs, saving=check_share("saving", saving), seed=seed)

    def _num_kept(self, total: int, epoch: int, **extra_inputs: Any) -> int:
        return max(1, total - count_share(self._skipped_share, total))

    def _choose(
        self,
        scores: NDArray[np.float32],
        kept: int,
        generator: torch.Generator,
        **extra_inputs: Any,
    ) -> NDArray[np.bool_]:
        # drawn again in each epoch by the same numbers, so that no mask must be stored
        return random_mask(kept, scores.size, epoch_generator(self.seed, epoch=0))
