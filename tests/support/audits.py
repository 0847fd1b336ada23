"""Losses and scores to audit, and what an audit says of them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from helpers import Numbers, with_scores
from torch import Tensor, nn

from dynaprune import InfoBatch, PrunedDataset, Selection, audit
from dynaprune.diagnostics import Audit

RANDOM = np.random.default_rng(0)


LOSSES = torch.from_numpy(RANDOM.gamma(1.0, size=400))


SCORES = LOSSES + torch.from_numpy(RANDOM.normal(0, 1, size=400))


def looked_up(model: Any, batch: Tensor) -> Tensor:
    """Return the loss of a batch of `Numbers`, from a table."""
    return LOSSES[batch].mean()


def scored(scores: Tensor = SCORES, num_epochs: int = 10) -> PrunedDataset:
    return with_scores(InfoBatch(Numbers(scores.numel()), num_epochs), scores.float())


class SkipHighest(PrunedDataset):
    """Skips the higher half, in all epochs."""

    skips_highest: ClassVar[bool] = True

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        return Selection(scores.argsort()[: scores.numel() // 2])


# Advice


def advice_on(
    scores: Tensor, losses: Tensor, method: type[PrunedDataset] = InfoBatch, labels: Any = None
) -> Audit:
    train = with_scores(method(Numbers(losses.numel()), num_epochs=10), scores.float())
    return audit(train, nn.Identity(), lambda model, batch: losses[batch].mean(), labels=labels)
