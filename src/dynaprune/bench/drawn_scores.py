"""A control experiment: the effect of InfoBatch's weights alone."""

from __future__ import annotations

import torch
from torch import Tensor

from ..methods import InfoBatch
from ..planning.selection import Selection
from ..scores.loss_progress import LossProgress


class DrawnScores(InfoBatch):
    """InfoBatch with random scores, drawn anew in each epoch.

    If it does as well as InfoBatch, then the gain over `RandomPrune` comes from the weights, which
    make larger steps, and not from the choice of samples. It takes the arguments of `InfoBatch`.
    """

    def select(
        self,
        scores: Tensor,
        epoch: int,
        generator: torch.Generator,
        progress: LossProgress | None = None,
    ) -> Selection:
        """Select by uniformly drawn scores."""
        drawn = torch.rand(scores.shape, generator=generator)
        return super().select(drawn, epoch, generator, progress)
