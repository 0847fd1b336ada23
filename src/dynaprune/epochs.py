"""The life of epochs: which one it is, what it serves, what it has reported, when it is over."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from torch import Tensor

from .indexed import check_range
from .passes import Pass, Passes
from .plan import Indices, Plan
from .record import LossRecord
from .scores import Score
from .summary import Summary

logger = logging.getLogger("dynaprune")

T = TypeVar("T")

MakePlan: TypeAlias = Callable[[Score, int], Plan]
"""Makes the plan of an epoch from scores and the epoch's number."""


class Epochs:
    """The epoch that is being served or about to be, and the way from one to the next.

    Its scores are those at its start. What it reports goes to a record, and is folded into them
    when the next plan is needed; so scores are constant inside an epoch.

    Arguments:
        num_samples: N, of the dataset.

    Attributes:
        number: of the epoch, from 0.
        plan: of the epoch; made when it is first needed.
        score: the scores at its start.
        record: what it has reported.
        passes: the runs of loaders that are under way.
        begun: the plan that the sampler was given last.
        totals: of the epochs before it.
    """

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples
        self.number = 0
        self.plan: Plan | None = None
        self.score: Score
        self.record = LossRecord()
        self.passes = Passes()
        self.begun: Plan | None = None
        self.totals = Summary()
        self._fold: Fold | None = None  # the record, folded, as far as it was then
        self._times_begun = 0
        self._began_at = 0.0
        self._updated_at = 0.0

    def restore(self, number: int, score: Score, totals: Summary) -> None:
        """Begin epoch `number` with these scores, as if all before it had been trained here."""
        self.number, self.score, self.totals = number, score, totals
        self.plan, self.record, self._fold = None, LossRecord(), None
        self.passes, self.begun = Passes(), None

    def begin(self, make_plan: MakePlan) -> Plan:
        """Return the plan that a loader is to serve from now on."""
        started = time.perf_counter()
        plan = self.coming_plan(make_plan)
        if len(self.record) == 0:
            self._began_at = started
        else:  # in the middle of an epoch: the next one, if this run trains, or just a look
            plan = self._next_plan(make_plan)
        self.begun = plan
        self._times_begun += 1
        return plan

    def begun_by(self, call: Callable[[], T]) -> tuple[T, Plan | None]:
        """Return what `call` returns, and the plan that the sampler has begun in it, if it has."""
        times_begun = self._times_begun
        result = call()
        return result, None if self._times_begun == times_begun else self.begun

    def coming_plan(self, make_plan: MakePlan) -> Plan:
        """Return the plan of the epoch that is being served or about to be."""
        if self.is_over():
            self.advance()
        if self.plan is None:
            self.plan = self._timed(lambda: make_plan(self.score, self.number))
        return self.plan

    def report(self, plan: Plan, batch: Indices, loss: Tensor, current: Pass | None) -> None:
        """Take down the loss of a batch.

        Arguments:
            plan: the plan that the batch was served by.
            batch: its samples.
            loss: its mean loss, or one loss a sample.
            current: the pass that has served it, or `None` if another library's loader has.
        """
        if plan is not self.plan:
            self._go_on_to(plan)
        if self.record.num_visits == 0:
            self._log(plan)
        self.record.append(batch, loss)
        self._updated_at = time.perf_counter()
        if current is None:
            self.passes.forget_batch()
        else:
            self.passes.take(current)

    def is_over(self) -> bool:
        """Whether the epoch was trained on and its pass has ended."""
        trained = self.passes.trained
        return len(self.record) > 0 and trained is not None and not trained.is_open

    def samples_due(self) -> int:
        """Return how many samples of the epoch in progress are still to be trained on."""
        if self.plan is None or len(self.record) == 0 or self.is_over():
            return 0
        trained = self.passes.trained
        served = len(self.plan) if trained is None else trained.num_samples
        return max(0, served - self.record.num_visits)

    def advance(self) -> None:
        """Fold what the epoch has reported into the scores and go on to the next one."""
        fold = self.folded()
        if fold.left_out:
            logger.warning(
                "epoch %d: %d losses were not finite and were left out of scoring",
                self.number,
                fold.left_out,
            )
        self.totals = self.summary()
        self.number, self.score, self.plan = self.number + 1, fold.score, fold.plan
        self.record, self._fold = LossRecord(), None

    def pass_over(self, plan: Plan) -> None:
        """Go on to the epoch after `plan`, of which the loader could not make a single batch."""
        if plan is not self.plan or len(self.record) > 0:
            return  # just a look, in the middle of another epoch
        logger.warning(
            "epoch %d keeps %d samples, of which the loader makes no batch (drop_last with a "
            "larger batch size?): nothing is trained in it",
            plan.epoch,
            len(plan),
        )
        self.number, self.plan = self.number + 1, None

    def summary(self) -> Summary:
        """Return the totals with the epoch in progress."""
        visits = self.record.num_visits
        if visits == 0 or self.plan is None:
            return self.totals
        # not in the middle of an epoch: reading the losses would wait for their device
        left_out = self.folded().left_out if self.samples_due() == 0 else 0
        kept = len(self.plan)
        return replace(
            self.totals,
            epochs=self.totals.epochs + 1,
            visits_made=self.totals.visits_made + visits,
            # a visit of an epoch that keeps K of N samples stands for N/K visits
            visits_avoided=self.totals.visits_avoided + visits * (self.num_samples - kept) // kept,
            seconds=self.totals.seconds + self._updated_at - self._began_at,
            losses_left_out=self.totals.losses_left_out + left_out,
        )

    def folded(self) -> Fold:
        """Return the scores with the record folded in; the epoch's own stay as they are."""
        visits = self.record.num_visits
        if visits == 0:
            return Fold(self.score, 0, 0)
        if self._fold is None or self._fold.num_visits != visits:
            self._fold = self._timed(self._fold_record)
        return self._fold

    def _fold_record(self) -> Fold:
        batches = self.record.batches()
        check_range(batches.indices, self.num_samples)  # those on a device were not looked at yet
        finite = batches.finite()
        score = copy.deepcopy(self.score)
        for part in finite.disjoint():
            score.observe(part)
        return Fold(score, self.record.num_visits, len(batches) - len(finite))

    def _next_plan(self, make_plan: MakePlan) -> Plan:
        """Return the plan of the epoch after the one in progress, as things stand."""
        fold = self.folded()
        if fold.plan is None:
            fold.plan = self._timed(lambda: make_plan(fold.score, self.number + 1))
        return fold.plan

    def _go_on_to(self, plan: Plan) -> None:
        """End the epoch in progress, because a batch of the next one, by `plan`, is trained on."""
        if plan.epoch != self.number + 1 or len(self.record) == 0:
            raise RuntimeError(
                f"this batch belongs to epoch {plan.epoch}, which is over: another loop over the "
                f"loader has gone on to epoch {self.number} in the meantime"
            )
        self.advance()
        self.plan = plan
        self._began_at = time.perf_counter()

    def _timed(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, and add its time to that of planning."""
        started = time.perf_counter()
        result = call()
        spent = self.totals.planning_seconds + time.perf_counter() - started
        self.totals = replace(self.totals, planning_seconds=spent)
        return result

    def _log(self, plan: Plan) -> None:
        if not logger.isEnabledFor(logging.INFO):  # then no mean is computed either
            return
        logger.info(
            "epoch %d: serving %s of %s samples (%.1f%% skipped), %.1f%% of visits saved before, "
            "mean score %.4g",
            plan.epoch,
            f"{len(plan):,}",
            f"{self.num_samples:,}",
            100 * (1 - len(plan) / self.num_samples),
            100 * self.totals.share_saved,
            self.score.values().mean().item(),
        )


@dataclass
class Fold:
    """Scores with a record folded in.

    Attributes:
        score: the scores.
        num_visits: how many sample visits the record had then.
        left_out: how many losses were not finite.
        plan: the next epoch's plan by these scores, once it was asked for.
    """

    score: Score
    num_visits: int
    left_out: int
    plan: Plan | None = None
