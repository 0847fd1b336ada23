"""The life of epochs: which one is served, when it is over, and how the next one follows."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor

from ..losses.buffer import LossBuffer
from ..losses.measurements import Indices
from ..planning.plan import Plan
from ..planning.planner import Planner
from ..planning.share import Share
from ..scores import Score
from .batch import Batch
from .epoch import Epoch
from .fold import Fold
from .loader_pass import LoaderPass
from .messages import log_start, warn_no_batch, warn_not_finite, warn_past_end, warn_whole_look
from .passes import PassTracker
from .progress import EpochProgress, SavedProgress
from .readings import Readings
from .sample_source import SampleSource
from .served_shares import ServedShares
from .summary import Summary

logger = logging.getLogger("dynaprune")

T = TypeVar("T")


class Epochs(Readings):
    """The epoch that is being served or about to be, and the way from one to the next.

    Its scores are those at its start. What it measures is folded into them when the next plan is
    needed; so scores are constant inside an epoch.

    With several ranks, a fold needs what all have measured, and is a collective. So it is done only
    where all ranks arrive: when a loader has served an epoch to its end, at the first update
    after an epoch that was left early, and in `end_epoch` and `state_dict`.

    Arguments:
        source: the data set.
        identity: what runs that train together, or one after the other, have in common.
        num_epochs: that the run was made for.

    Attributes:
        was_restored: whether the run goes on from a state.
    """

    def __init__(self, source: SampleSource, identity: dict[str, Any], num_epochs: int) -> None:
        super().__init__(source, identity)
        self.num_epochs = num_epochs
        self.was_restored = False
        self._counted: Plan | None = None  # the plan that samples are counted for at the moment
        self._is_past_end = False  # whether it was said that the run goes on after its last epoch
        self._looks = 0  # whole passes over one plan without an update

    # The first epoch

    def adopt(self, score: Score) -> None:
        """Score by `score` from now on: nothing was trained yet."""
        score.follow(self._followed)
        self.now = Epoch(0, score, EpochProgress(self.ranks))

    def restore(
        self,
        number: int,
        score: Score,
        totals: Summary,
        mean_loss: float = math.nan,
        resumed: SavedProgress | None = None,
        plan: Plan | None = None,
    ) -> None:
        """Go on in epoch `number`, as if all before it had been trained here.

        Arguments:
            number: of the epoch.
            score: the scores at its start.
            totals: of the epochs before it.
            mean_loss: of the epoch before it.
            resumed: how far it has come.
            plan: its plan, with what is still due, if it has come anywhere.
        """
        progress = EpochProgress(self.ranks, resumed)
        self.was_restored = True
        self.passes, self.served_shares = PassTracker(), ServedShares()
        self.source.start_over()
        self._have_agreed, self._looks = False, 0
        self.now = Epoch(number, score, progress, totals, mean_loss, plan)
        self.callbacks.resume(totals)

    def follow(self, names: tuple[str, ...]) -> None:
        """Keep what these names tell of each sample from now on, the epoch in progress included."""
        if not all(self.score.follows(name) for name in names):
            self.now.fold = None  # it was made without them
        self._followed += names
        self.score.follow(names)

    # What is served

    def begin(self, planner: Planner) -> Plan:
        """Return the plan that a loader is to serve from now on; no collective.

        In the middle of an epoch it is the next one's: the epoch goes on to it if this run trains,
        and if not it was just a look.
        """
        started = time.perf_counter()
        plan = self.coming_plan(planner)
        if not self.record:
            self.now.began_at = started
            return plan
        return self._next_plan(planner)

    def serve(self, share: Share) -> Share:
        """Remember what the sampler serves from now on, and return it."""
        looked_at = self.served_shares.fully_drawn_plan()
        if looked_at is not None:
            self._note_whole_look(looked_at)
        self.served_shares.add(share, self.number)
        return share

    def resumed_visits(self, plan: Plan) -> int:
        """Return how many visits of a plan a checkpoint says were made before."""
        return self.progress.resumed.visits if plan is self.plan else 0

    def plan_of(self, indices: Indices) -> Plan:
        """Return the plan by which another library's loader has served a batch; see `ServedShares`.

        Raises:
            RuntimeError: no sampler was asked for an epoch, or the plans of two have the batch.
        """
        return self.served_shares.plan_of(
            indices, self.plan, self.number, lambda: self.record.num_visits
        )

    def counted_by(self, plan: Plan, call: Callable[[], T]) -> T:
        """Return what `call` returns, which counts samples or batches, for a plan.

        A batch sampler of the user's own counts by `len(train.sampler)`, which is about the epoch
        in progress; but a loop may have begun the next one.
        """
        with self.lock:
            self._counted = plan
            try:
                return call()
            finally:
                self._counted = None

    def coming_plan(self, planner: Planner) -> Plan:
        """Return the plan of the epoch that is being served or about to be."""
        if self._counted is not None:
            return self._counted
        if self.position.is_over():
            if not self.knows_all():
                return self._next_plan(planner)
            self.advance()  # whatever is read says the same after it; the old plan's memory is free
        follower = self.passes.next_pass()
        return self.now.planned(planner) if follower is None else follower.plan

    def _next_plan(self, planner: Planner) -> Plan:
        """Return the plan of the epoch after the one in progress, as things stand.

        What other ranks have measured is not known before they all arrive, and a look, on one of
        them alone, must not wait for that: then the plan is made by the scores at the start of the
        epoch, which all ranks know.
        """
        if not self.knows_all():
            return self.now.planned_ahead(planner)
        return self.now.follower(self.folded(), planner)

    # What is trained

    def report(self, plan: Plan, batch: Batch, loss: Tensor, current: LoaderPass | None) -> None:
        """Record the loss of a batch.

        Arguments:
            plan: the plan that the batch was served by.
            batch: the batch.
            loss: its mean loss, those of its slices, or one loss a sample.
            current: the pass that has served it, or `None` if another library's loader has.
        """
        if current is not None and current.tracker is not self.passes:
            raise RuntimeError(
                "this batch is of a loop that was begun before load_state_dict() was called: leave "
                f"that loop, and begin a new one to go on in epoch {self.number}"
            )
        if self.callbacks.all:
            self.callbacks.step()  # first: it raises if a recording is not this run's
        is_of_next = plan is not self.now.plan
        epoch = self._begun_by_training(plan) if is_of_next else self.now
        record = epoch.progress.record
        is_first = not record
        if is_first:
            order = self.source.recorded_order(plan, self.served_shares.of(plan))
            record = epoch.progress.record = LossBuffer(order)

        try:
            record.append(batch.indices, loss)
            if is_of_next:
                self._enter(epoch)
            self.passes.note_updated(current, batch)
        except BaseException:  # Ctrl-C, say, which leaves all with the step or without it
            if record.last is batch.indices:
                if is_of_next:
                    self._enter(epoch)
                self.passes.note_updated(current, batch)
            raise
        if is_first:
            self._looks = 0
            log_start(plan, self.now, self.source.and_others)
            if plan.epoch >= self.num_epochs and not self._is_past_end:
                self._is_past_end = True
                warn_past_end(plan.epoch, self.num_epochs)
            self._agree(plan)
        self.now.updated_at = time.perf_counter()

    def _begun_by_training(self, plan: Plan) -> Epoch:
        """Return the next epoch: a batch of its `plan` is trained on, which ends this one."""
        if self.plan is None or plan.epoch == self.number:
            raise RuntimeError(
                f"this batch is of a loop that planned epoch {self.number} before all of the epoch "
                "before was trained, and another loop has trained more of that: leave this loop, "
                "and begin a new one to go on"
            )
        if plan.epoch != self.number + 1 or not self.record:
            raise RuntimeError(
                f"this batch belongs to epoch {plan.epoch}, which is over: another loop over the "
                f"loader has gone on to epoch {self.number} in the meantime"
            )
        return self._next(plan)

    # The end of an epoch

    def finish(self, current: LoaderPass) -> bool:
        """Go on to the next epoch where `current` has trained this one to its end on all ranks.

        Here all ranks arrive; later, one alone may save a checkpoint or read scores. A rank that
        has made no update in the pass joins the others, unless its gradients were off, as in an
        evaluation. An epoch that callbacks follow is ended here also on one rank: nothing comes
        after the last one.
        """
        if current.is_awaited():  # its last update does it
            return False
        if current is self.passes.trained and current.plan is self.plan:
            if self.ranks.world_size > 1 or self.callbacks.all:
                self.advance()
                return True
            return False
        if current.is_trained or not current.has_gradients or current.is_over:
            return False
        if self.ranks.world_size > 1 and self._joins(current):
            if current.plan is not self.plan:  # it was begun after an epoch that was left early
                self._enter(self._begun_by_training(current.plan))
            before = self.progress.resumed.visits
            if self.ranks.are_apart or self.gathered().visits > before:
                self.advance()
                return True
        self._note_whole_look(current.plan)
        return False

    def _joins(self, current: LoaderPass) -> bool:
        """Whether a pass without an update is this rank's part of an epoch that others train."""
        if self.ranks.are_apart and not self._have_agreed:
            return False
        if current.plan is self.plan:
            return not self.record
        return current.plan.epoch == self.number + 1 and self.position.is_over()

    def end(self, planner: Planner) -> bool:
        """End the epoch in progress if any rank has trained on it: with several, a collective."""
        visits = self.progress.visits
        if self.ranks.world_size > 1:  # others may have made updates where this rank has not
            self.coming_plan(planner)
            visits = self.source.visits_of_all(visits, lambda: self.gathered().visits)
        if visits > 0:
            self.advance()
        return visits > 0

    def advance(self) -> None:
        """Fold what the epoch has measured into the scores and go on to the next one."""
        self._enter(self._next())

    def _next(self, plan: Plan | None = None) -> Epoch:
        """Return the epoch after the one in progress, whose end callbacks are told.

        Arguments:
            plan: of the next epoch, if it is served already.
        """
        before, ended = self.now, self._fold()
        totals = self._totals_with(ended)
        self.call_callbacks()
        if ended.left_out:
            warn_not_finite(before.number, ended.left_out)
        return Epoch(
            before.number + 1,
            ended.score,
            EpochProgress(self.ranks),
            totals,
            ended.mean_loss if len(ended.batches) else before.mean_loss,
            ended.plan if plan is None else plan,
        )

    def _enter(self, epoch: Epoch) -> None:
        """Let an epoch take the place of the one before, and free what that one took.

        It may be called again with the same epoch, where an interrupt has cut it short.
        """
        epoch.began_at = epoch.updated_at = time.perf_counter()
        self.now = epoch
        self.source.retire(epoch.number)
        self.first_keys = {
            number: key for number, key in self.first_keys.items() if number >= epoch.number
        }
        self.passes.retire(epoch.number)  # the memory of a plan is wanted for the next one
        self.served_shares.retire(epoch.number)

    def call_callbacks(self) -> None:
        """Tell callbacks what the epoch, which is over, came to: one rank does it for all.

        It comes before the epoch counts as over: in the next one, or in a state. So a job that is
        killed between the two does it again, and never misses it.

        Raises:
            Exception: what a callback raises, on one rank. On several it is logged, and the
                callbacks are removed, because the others would wait.
        """
        if self.callbacks.all and self.ranks.rank == 0:
            self._call_callbacks(self._fold())

    def _call_callbacks(self, ended: Fold, *, was_served: bool = True) -> None:
        """Tell callbacks what the epoch came to, as `call_callbacks` does."""
        result = self._result(ended, was_served)
        try:
            self.callbacks.end_epoch(result, ended.folded_at)
        except Exception:
            if self.ranks.world_size == 1:
                raise
            logger.exception(
                "a callback, such as a recording or a logger, failed at the end of epoch %d: the "
                "run continues without callbacks",
                self.number,
            )
            self.callbacks.clear()

    def skip_empty_epoch(self, plan: Plan) -> None:
        """Go on to the epoch after `plan` if the loader could make no batch of it.

        Raises:
            RuntimeError: the plan is for a stream that has yielded nothing.
        """
        if plan is not self.plan or self.record:
            return  # just a look, in the middle of another epoch
        if self.progress.visits > 0:
            self.advance()  # a resumed epoch: what was still due made no batch
            return
        self.source.check_served(plan)
        warn_no_batch(plan)
        if self.callbacks.all and self.ranks.rank == 0:
            self._call_callbacks(Fold.of_nothing(self.score), was_served=False)
        self.now = replace(self.now, number=self.number + 1, plan=None, plan_ahead=None, fold=None)

    def _note_whole_look(self, plan: Plan) -> None:
        """Warn if the same plan was served from beginning to end twice, without an update."""
        if plan is not self.plan or self.record:
            return
        self._looks += 1
        if self._looks == 2:
            warn_whole_look(plan, self.now.num_samples)
