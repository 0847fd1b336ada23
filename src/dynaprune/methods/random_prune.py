"""The baseline that every method must beat at the same number of sample visits."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..planning.selection import Selection
from ..scores import BLS, Score
from ..scores.loss_progress import LossProgress
from ..utils.sampling import nonzero, random_mask
from ._exact_share import ExactShare


class RandomPrune(ExactShare):
    """Keeps a new uniform share of the samples in each epoch, with weight 1.

    Together with training for fewer epochs it is the baseline of every other method. Over E epochs
    it serves (1 − r)·N·E samples, up to rounding by one: rounding errors do not add up.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        prune_ratio: r, the share of the samples that an epoch skips, in [0, 1); 0.5 if neither it
            nor `saving` is given. At least one sample is kept.
        saving: instead of `prune_ratio`, the share of all sample visits of the run to skip; a run
            of E complete epochs meets it exactly. The first epoch of a stream skips nothing,
            because its samples are not known yet; the others skip more to make up for it.

            With "auto" an epoch skips the share of the samples that together hold 5% of all loss,
            at most half of them, times 1 − 2f, where f is the relative fall of the mean loss in the
            epoch before. So the first two epochs skip nothing, and none does while losses halve
            from epoch to epoch. Both numbers are estimated from the mean losses of batches (see
            `share_of_learned`). What a run saves is known when it ends. A sample that has been
            learned should have a loss of 0: the further above it is, the less is skipped, and if
            mean losses are negative, nothing is.
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
    extra_inputs: tuple[str, ...] = ("progress",)

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        prune_ratio: float | None = None,
        saving: float | Literal["auto"] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, prune_ratio, saving, seed)

    def select(
        self,
        scores: Tensor,
        epoch: int,
        generator: torch.Generator,
        progress: LossProgress | None = None,
    ) -> Selection:
        """Keep a uniform share of all samples, with weight 1."""
        total = scores.numel()
        kept = self._num_kept(total, epoch, progress)
        return Selection(nonzero(random_mask(kept, total, generator)))
