"""The end of an epoch: its measurements are folded into the scores."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..losses.measurements import Measurements
from ..planning.plan import Plan
from ..scores import Score
from .progress import SavedProgress
from .sample_source import SampleSource

WHOLE = 0.9
"""The share of all samples that an epoch has to measure, at least, to count as a whole one: a last
batch that is dropped, or a few losses that are not finite, make no difference."""


@dataclass
class Fold:
    """Scores with an epoch's measurements folded in.

    Attributes:
        score: the scores.
        batches: the measurements, losses that are not finite included.
        visits: the sample visits of the epoch, by all ranks.
        left_out: how many losses were not finite.
        folded_at: the step, and how many visits were known then.
        plan: the next epoch's plan by these scores, once it was asked for.
    """

    score: Score
    batches: Measurements
    visits: int
    left_out: int
    folded_at: tuple[int, int]
    plan: Plan | None = None

    @classmethod
    def of_nothing(cls, score: Score) -> Fold:
        """Return the scores as they are: nothing was measured."""
        return cls(score, Measurements.none(), 0, 0, (0, 0))

    @cached_property
    def mean_loss(self) -> float:
        """The mean of finite losses over sample visits; NaN if there is no finite loss."""
        losses = self.batches.losses.numpy()
        is_finite = np.isfinite(losses)
        sizes = self.batches.sizes.numpy()[is_finite].astype(np.float64)
        if sizes.size == 0:
            return math.nan
        return float((losses[is_finite] * sizes).sum() / sizes.sum())


def fold(
    before: Score,
    measured: SavedProgress,
    plan: Plan | None,
    epoch: int,
    source: SampleSource,
    at: tuple[int, int],
) -> Fold:
    """Return scores with the measurements of an epoch folded in.

    Arguments:
        before: the scores at the start of the epoch, which stay as they are.
        measured: what all ranks have measured.
        plan: of the epoch.
        epoch: its number.
        source: the data set.
        at: the step, and how many visits are known.
    """
    every = measured.batches
    finite = every.finite()
    left_out = len(every) - len(finite)
    score = copy.deepcopy(before)
    every, finite = source.registered(score, every, finite, epoch)
    if source.ranks.world_size > 1:
        # ranks that serve equally many samples repeat a few, which are not scored twice
        every, finite = every.first_visits(), finite.first_visits()
    score.record_visits(every, epoch)
    num_samples = before.num_samples
    is_whole = plan is not None and len(plan) >= num_samples
    is_whole &= int(finite.sizes.sum()) >= WHOLE * num_samples  # and it was not left early
    score.update_reliability(finite, is_whole=is_whole)
    score.fold(finite)
    return Fold(score, measured.batches, measured.visits, left_out, at)
