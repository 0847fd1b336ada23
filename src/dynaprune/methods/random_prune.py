"""The baseline that every method must beat at the same number of sample visits."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..scores import BLS, Score
from ..utils.sampling import random_mask
from ._exact_share import ExactShare


class RandomPrune(ExactShare):
    """Keeps a new uniform share of the samples in each epoch, with weight 1.

    Together with training for fewer epochs it is the baseline of every other method.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        saving: the share of all sample visits of the run to skip, in [0, 1); a run of E complete
            epochs meets it exactly, if at least one sample is kept in each epoch. The first epoch
            of a stream skips nothing, because its samples are not known yet; the others skip more
            to make up for it.

            With "auto" an epoch skips the share of the samples that together hold 5% of all loss,
            at most half of them, times 1 − 2f, where f is the relative fall of the mean loss in the
            epoch before. So the first two epochs skip nothing, and none does while losses halve
            from epoch to epoch. Both numbers are estimated from the mean losses of batches (see
            `share_of_learned`). What a run saves is known when it ends. A sample that has been
            learned should have a loss of 0: the further above it is, the less is skipped, and if
            mean losses are negative, nothing is.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number, and `saving` is not "auto".
        ValueError: an argument lies outside its range, or `saving` cannot be reached in this number
            of epochs.

    Example:
        >>> from dynaprune import RandomPrune
        >>> len(RandomPrune(range(1000), num_epochs=10, saving=0.3).sampler)
        700
    """

    default_score: ClassVar[type[Score]] = BLS

    def _choose(
        self,
        scores: NDArray[np.float32],
        kept: int,
        generator: torch.Generator,
        **extra_inputs: Any,
    ) -> NDArray[np.bool_]:
        return random_mask(kept, scores.size, generator)
