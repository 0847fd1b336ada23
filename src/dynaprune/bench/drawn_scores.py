"""A control: what InfoBatch's weights do by themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from ..methods import InfoBatch
from ..planning.selection import Selection


class DrawnScores(InfoBatch):
    """InfoBatch by scores that are drawn anew in each epoch: its weights, and nothing of a score.

    Where it does as well as InfoBatch, a gain over `RandomPrune` comes of larger steps, and not of
    the choice of samples. Its arguments are those of `InfoBatch`.
    """

    def select(
        self,
        scores: Tensor,
        epoch: int,
        generator: torch.Generator,
        errors: Tensor | None = None,
    ) -> Selection:
        """Select by scores drawn uniformly."""
        return super().select(torch.rand(scores.shape, generator=generator), epoch, generator)
