"""An epoch: its scores and plan, what it has reported, and what that comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..losses.measurements import Measurements
from ..planning.plan import Plan
from ..scores import Score
from .progress import EpochProgress
from .summary import Summary


@dataclass
class Epoch:
    """An epoch from its start on. The next one takes its place in one assignment.

    Attributes:
        number: from 0.
        score: the scores at its start.
        findings: what it has reported.
        num_samples: N; of a stream those that are known.
        totals: of the epochs before it.
        mean_loss: of the epoch before it: the mean of its finite losses over its sample visits.
        plan: made when it is first needed.
        plan_ahead: of the next epoch, by the scores at the start of this one.
        fold: the findings, folded, as far as they were then.
    """

    number: int
    score: Score
    findings: EpochProgress
    num_samples: int
    totals: Summary = field(default_factory=Summary)
    mean_loss: float = math.nan
    plan: Plan | None = None
    plan_ahead: Plan | None = None
    fold: Fold | None = None


@dataclass
class Fold:
    """Scores with findings folded in.

    Attributes:
        score: the scores.
        batches: the findings, losses that are not finite included.
        visits: the sample visits of the epoch, by all ranks.
        left_out: how many losses were not finite.
        folded_at: the step, and how many visits were known of then.
        plan: the next epoch's plan by these scores, once it was asked for.
    """

    score: Score
    batches: Measurements
    visits: int
    left_out: int
    folded_at: tuple[int, int]
    plan: Plan | None = None

    @cached_property
    def mean_loss(self) -> float:
        """The mean of finite losses over sample visits; NaN if there is none."""
        losses = self.batches.losses.numpy()
        is_finite = np.isfinite(losses)
        sizes = self.batches.sizes.numpy()[is_finite].astype(np.float64)
        if sizes.size == 0:
            return math.nan
        return float((losses[is_finite] * sizes).sum() / sizes.sum())
