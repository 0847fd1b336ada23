"""An epoch from its start on: its scores and plan, and what it has measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ..planning.plan import Plan
from ..planning.planner import Planner
from ..scores import Score
from .fold import Fold
from .progress import EpochProgress
from .summary import Summary

T = TypeVar("T")


@dataclass
class Epoch:
    """An epoch. The next one takes its place in one assignment.

    Attributes:
        number: from 0.
        score: the scores at its start.
        progress: what it has measured so far.
        totals: of the epochs before it, and the time that planning has taken up to now.
        mean_loss: of the epoch before it: the mean of its finite losses over its sample visits.
        plan: made when it is first needed.
        plan_ahead: the plan of the next epoch, by the scores at the start of this one.
        fold: the measurements folded into the scores, as far as they were known then.
        began_at, updated_at: when it began and was last updated, by `time.perf_counter`.
        distinct: at some number of visits, how many different samples they were of.
    """

    number: int
    score: Score
    progress: EpochProgress
    totals: Summary = field(default_factory=Summary)
    mean_loss: float = math.nan
    plan: Plan | None = None
    plan_ahead: Plan | None = None
    fold: Fold | None = None
    began_at: float = 0.0
    updated_at: float = 0.0
    distinct: tuple[int, int] = (0, 0)

    @property
    def num_samples(self) -> int:
        """N; of a stream, the samples that were known at the start of the epoch."""
        return self.score.num_samples

    @property
    def seconds(self) -> float:
        """The wall-clock seconds of the epoch, up to its last update."""
        return self.progress.resumed.seconds + max(0.0, self.updated_at - self.began_at)

    def planned(self, planner: Planner) -> Plan:
        """Return the plan, made at the first call."""
        if self.plan is None:
            self.plan = self.timed(lambda: planner.plan(self.score, self.number))
        return self.plan

    def planned_ahead(self, planner: Planner) -> Plan:
        """Return the next epoch's plan by the scores at the start of this one."""
        if self.plan_ahead is None:
            self.plan_ahead = self.timed(lambda: planner.plan(self.score, self.number + 1))
        return self.plan_ahead

    def follower(self, fold: Fold, planner: Planner) -> Plan:
        """Return the next epoch's plan by the scores that this one has come to."""
        if fold.plan is None:
            fold.plan = self.timed(lambda: planner.plan(fold.score, self.number + 1))
        return fold.plan

    def timed(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, and add its time to that of planning."""
        started = time.perf_counter()
        result = call()
        spent = self.totals.planning_seconds + time.perf_counter() - started
        self.totals = replace(self.totals, planning_seconds=spent)
        return result

    def totals_with(self, visits: int, left_out: int, repeats: int) -> Summary:
        """Return the totals with this epoch.

        Arguments:
            visits: its sample visits so far, by all ranks.
            left_out: how many of its losses were not finite.
            repeats: how often it serves each of its samples.
        """
        if visits == 0 or self.plan is None:
            return self.totals
        kept = len(self.plan)
        # a visit in an epoch that keeps K of N samples stands for N/K visits
        avoided = min(visits, kept * repeats) * (self.num_samples - kept) // max(1, kept)
        return replace(
            self.totals,
            epochs=self.totals.epochs + 1,
            visits_made=self.totals.visits_made + visits,
            visits_avoided=self.totals.visits_avoided + avoided,
            seconds=self.totals.seconds + self.seconds,
            losses_left_out=self.totals.losses_left_out + left_out,
        )
