"""Skipping the samples that have been learned."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..planning.selection import Selection
from ..pruned_dataset import PrunedDataset
from ..utils.sampling import all_indices, nonzero
from ..utils.validation import check_number, check_share
from ._budget import count_share, first_annealed_epoch
from ._ranking import lowest, some_of

logger = logging.getLogger("dynaprune")


class SkipConverged(PrunedDataset):
    """Skips the samples with the lowest scores that together hold a small share of the loss.

    Samples are taken in order of ascending score, as long as their sum of max(score − floor, 0) is
    at most the share `loss_share` of that of all samples. These are skipped, except for a random
    share `refresh` of them, which is trained on: so their scores stay up to date, and a forgotten
    sample returns. All weights are 1.

    So an epoch gives up at most that share of the loss that can still be reduced, however many
    samples that is: few while all are still being learned, none while all scores are equal, as in
    the first epoch, and many once most samples have converged. What a run saves depends on how fast
    they converge.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        loss_share: the share of the total loss that the skipped samples may hold, in [0, 1).
        refresh: the share of the samples to skip that is trained on anyway, in [0, 1]. At least one
            sample is kept.
        floor: the loss of a sample that has been learned: 0 for cross-entropy and squared errors.
            Set it if losses can be negative or stay far above 0, as with the log-likelihood of a
            density or label smoothing. Scores slightly below it count as equal to it. If the scores
            below it fall short by more than `loss_share` of what the others hold, the floor must be
            wrong: such an epoch skips nothing, and the first one in a run logs a warning.
        delta: δ, the share of the run after which nothing is skipped any more, in [0, 1].
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument lies outside its range.

    Example:
        >>> from dynaprune import DataLoader, SkipConverged
        >>> import torch
        >>> losses = torch.tensor([0.001] * 80 + [1.0] * 20)
        >>> train = SkipConverged(losses, num_epochs=8)
        >>> loader = DataLoader(train, batch_size=20)
        >>> for loss in loader:
        ...     loss = train.update(loss)
        >>> len(train.sampler)  # all hard samples, and 15% of the learned ones
        32
    """

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        loss_share: float = 0.05,
        refresh: float = 0.15,
        floor: float = 0.0,
        delta: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, seed=seed)
        self.loss_share = check_share("loss_share", loss_share)
        self.refresh = check_share("refresh", refresh, "[0, 1]")
        self.floor = check_number("floor", floor)
        self.delta = check_share("delta", delta, "[0, 1]")
        self._has_warned = False

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Keep the scores that hold nearly all the loss, and a few others, with weight 1."""
        values, total = scores.numpy(), scores.numel()
        if values.min() == values.max() or epoch >= first_annealed_epoch(
            self.delta, self.num_epochs
        ):
            return Selection(all_indices(total))
        losses = np.sort(values)
        losses -= np.float32(self.floor)
        lacking = -float(np.minimum(losses, 0).sum(dtype=np.float64))
        if lacking > self.loss_share * float(np.maximum(losses, 0).sum(dtype=np.float64)):
            self._warn(float(np.mean(losses < 0)))
            return Selection(all_indices(total))
        held = np.cumsum(np.maximum(losses, 0, out=losses), dtype=np.float64)
        converged = int(np.searchsorted(held, self.loss_share * held[-1], side="right"))
        skipped = min(total - 1, converged - count_share(self.refresh, converged))
        learned = lowest(values, converged, generator)
        return Selection(nonzero(~some_of(learned, skipped, generator)))

    def _warn(self, share: float) -> None:
        """Warn once that `floor` is wrong."""
        if self._has_warned:
            return
        self._has_warned = True
        logger.warning(
            "SkipConverged skips nothing: %.0f%% of the scores are below floor=%s, which should be "
            "the loss of a sample that has been learned. Set floor to the lowest possible loss, "
            "or use a method that needs none, such as InfoBatch(..., saving=0.2)",
            100 * share,
            self.floor,
        )
