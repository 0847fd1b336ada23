"""The life of epochs: which one it is, what it serves, what it has reported, when it is over."""

from __future__ import annotations

import copy
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from ..losses.buffer import LossBuffer
from ..losses.measurements import Indices, Measurements
from ..planning.plan import Plan, digest
from ..planning.share import Share
from ..scores import Score
from ..utils.sampling import count_distinct
from .begun import Begun
from .callbacks import Callbacks, EpochResult
from .distributed import Ranks
from .epoch import Epoch, Fold
from .lengths import Lengths
from .passes import Batch, LoaderPass, PassTracker
from .progress import EpochProgress, SavedProgress
from .summary import Summary

logger = logging.getLogger("dynaprune")

T = TypeVar("T")

WHOLE = 0.9
"""The share of all samples that an epoch has to measure, at least, to count as one of them all."""

MakePlan: TypeAlias = Callable[[Score, int], Plan]
"""Makes the plan of an epoch from scores and the epoch's number."""


class Epochs:
    """The epoch that is being served or about to be, and the way from one to the next.

    Its scores are those at its start. What it reports is folded into them when the next plan is
    needed; so scores are constant inside an epoch.

    With several ranks, a fold needs what all have reported, and is a collective. So it is done only
    where all ranks arrive: when a loader has served an epoch to its end, at the first update
    after an epoch that was left early, and in `end_epoch` and `state_dict`. All else, looks at
    batches among it, uses what is known on the rank.

    What is read changes nothing, so other threads may read while one trains: each takes the lock.

    Arguments:
        num_samples: N, of the dataset; of a stream 0, as long as none of its samples is known.
        identity: what runs that train together, or one after the other, have in common.
        num_epochs: that the run was made for.

    Attributes:
        now: the epoch.
        lock: held by whoever reads or changes any of this.
        expected_samples: how many a stream is said to have; 0 if it is not said.
        first_keys: by epoch, the fingerprint of the first key of a stream that is the same on all
            ranks.
        passes: the runs of loaders that are under way.
        begun: what samplers serve.
        lengths: what ranks that are apart have agreed upon.
        ranks: the processes that train together.
        callbacks: what follows the run: recording, logging, and what a user has added.
        was_restored: whether the run goes on from a state.
    """

    def __init__(self, num_samples: int, identity: Mapping[str, Any], num_epochs: int) -> None:
        self.lock = threading.RLock()
        self.expected_samples = 0
        self.first_keys: dict[int, int] = {}
        self.identity = identity
        self.num_epochs = num_epochs
        self.ranks = Ranks()
        self.now: Epoch
        self._num_samples = num_samples
        self.passes = PassTracker()
        self.callbacks = Callbacks()
        self._counts_visits = False
        self.was_restored = False
        self.begun = Begun()
        self.lengths = Lengths(self.ranks)
        self._have_agreed = False
        self._counted: Plan | None = None  # what is counted at the moment
        self._is_past_end = False  # whether it was said that the run goes on after its last epoch
        self._looks = 0  # whole passes over one plan without an update
        self._distinct = (0, 0)  # visits, and how many different samples they were of
        self._began_at = 0.0
        self._updated_at = 0.0

    @property
    def number(self) -> int:
        """The number of the epoch, from 0."""
        return self.now.number

    @property
    def score(self) -> Score:
        """The scores at the start of the epoch."""
        return self.now.score

    @property
    def plan(self) -> Plan | None:
        """The plan of the epoch, if it was needed yet."""
        return self.now.plan

    @property
    def findings(self) -> EpochProgress:
        """What the epoch has reported."""
        return self.now.findings

    @property
    def record(self) -> LossBuffer:
        """What this rank has reported in this process."""
        return self.now.findings.record

    @property
    def totals(self) -> Summary:
        """The totals of the epochs before this one."""
        return self.now.totals

    @property
    def num_samples(self) -> int:
        """N; of a stream, the samples that were known at the start of the epoch."""
        return self.now.num_samples

    def adopt(self, score: Score) -> None:
        """Score by `score` from now on: nothing was trained yet."""
        if self._counts_visits:
            score.count_visits()
        self.now = Epoch(0, score, EpochProgress(self.ranks), self._num_samples)

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
        findings = EpochProgress(self.ranks, resumed)
        self.was_restored = True
        self.passes, self.begun, self.lengths = PassTracker(), Begun(), Lengths(self.ranks)
        self._have_agreed, self._looks = False, 0
        self._began_at = self._updated_at = 0.0
        self.now = Epoch(number, score, findings, score.num_samples, totals, mean_loss, plan)
        self.callbacks.resume(totals)

    def count_visits(self) -> None:
        """From now on, count how often each sample is measured, the epoch in progress included."""
        self._counts_visits = True
        self.score.count_visits()
        self.now.fold = None  # it was made without counting

    def begin(self, make_plan: MakePlan) -> Plan:
        """Return the plan that a loader is to serve from now on; no collective.

        In the middle of an epoch it is the next one's: the epoch goes on to it if this run trains,
        and if not it was just a look.
        """
        started = time.perf_counter()
        plan = self.coming_plan(make_plan)
        if not self.record:
            self._began_at = started
            return plan
        return self._next_plan(make_plan)

    def hand_out(self, share: Share) -> Share:
        """Remember what the sampler serves from now on, and return it."""
        looked_at = self.begun.looked_through()
        if looked_at is not None:
            self._note_whole_look(looked_at)
        self.begun.add(share, self.number)
        return share

    def plan_of(self, indices: Indices) -> Plan:
        """Return the plan by which another library's loader has served a batch; see `Begun`.

        Raises:
            RuntimeError: no sampler was asked for an epoch, or the plans of two have the batch.
        """
        return self.begun.plan_of(indices, self.plan, self.number, lambda: self.record.num_visits)

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

    def coming_plan(self, make_plan: MakePlan) -> Plan:
        """Return the plan of the epoch that is being served or about to be."""
        if self._counted is not None:
            return self._counted
        if self.is_over():
            if not self.knows_all():
                return self._next_plan(make_plan)
            self.advance()  # whatever is read says the same after it; the old plan's memory is free
        follower = self.passes.follower()
        if follower is not None:
            return follower.plan
        now = self.now
        if now.plan is None:
            now.plan = self._timed(lambda: make_plan(now.score, now.number))
        return now.plan

    def report(self, plan: Plan, batch: Batch, loss: Tensor, current: LoaderPass | None) -> None:
        """Record the loss of a batch.

        Arguments:
            plan: the plan that the batch was served by.
            batch: it.
            loss: its mean loss, those of its slices, or one loss a sample.
            current: the pass that has served it, or `None` if another library's loader has.
        """
        if current is not None and current.home is not self.passes:
            raise RuntimeError(
                "this batch is of a loop that was begun before load_state_dict() was called: leave "
                f"that loop, and begin a new one to go on in epoch {self.number}"
            )
        if self.callbacks.all:
            self.callbacks.step()  # first: it raises if a recording is not this run's
        is_of_next = plan is not self.now.plan
        epoch = self._begun_by_training(plan) if is_of_next else self.now
        record = epoch.findings.record
        is_first = not record
        if is_first:
            record = epoch.findings.record = LossBuffer(self._order_of(plan))

        try:
            record.append(batch.indices, loss)
            if is_of_next:
                self._enter(epoch)
            self.passes.take(current, batch)
        except BaseException:  # Ctrl-C, say, which leaves all with the step or without it
            if record.last is batch.indices:
                if is_of_next:
                    self._enter(epoch)
                self.passes.take(current, batch)
            raise
        if is_first:
            self._looks = 0
            self._log(plan)
            if plan.epoch >= self.num_epochs and not self._is_past_end:
                self._is_past_end = True
                logger.warning(
                    "epoch %d begins, but the run was made with num_epochs=%d: methods and "
                    "schedules that plan for its end have ended. Make it with the number of epochs "
                    "that are trained",
                    plan.epoch,
                    self.num_epochs,
                )
            self._agree(plan)
        self._updated_at = time.perf_counter()

    def _order_of(self, plan: Plan) -> Tensor:
        """Return the samples of a plan in the order in which this rank serves them, if known."""
        if plan.keys is not None:  # the samples of a stream are said by keys of 64 bits
            return torch.empty(0, dtype=torch.int64, device="cpu")
        share = self.begun.of(plan)
        return plan.order[:0] if share is None else share.order

    def is_over(self) -> bool:
        """Whether the epoch was trained on and its pass has ended."""
        trained = self.passes.trained
        if trained is None or trained.plan is not self.plan or not self.record:
            return False
        return not trained.is_open and not trained.is_awaited()

    def is_done(self) -> bool:
        """Whether nothing of an epoch is due any more, and its measurements are known here."""
        return self.findings.visits > 0 and self.samples_due() == 0 and self.knows_all()

    def is_resumed(self) -> bool:
        """Whether an epoch that was begun before a checkpoint is about to be gone on with."""
        return not self.record and self.findings.visits > 0

    def is_under_way(self) -> bool:
        """Whether the epoch has come anywhere, on this rank or, as far as it can tell, on others.

        A rank that has skipped all batches so far goes through the epoch with the others.
        """
        return self.findings.visits > 0 or (
            self.ranks.size > 1 and self.plan is not None and self._training_pass() is not None
        )

    def _training_pass(self) -> LoaderPass | None:
        """Return the run of our loader that trains the epoch, if one does."""
        trained, current = self.passes.trained, self.passes.under_way()
        if trained is not None and trained.plan is self.plan and self.record:
            return trained
        is_joining = self.ranks.in_step > 1 and current is not None and current.is_graded
        return current if is_joining and current is not None and current.plan is self.plan else None

    def samples_due(self) -> int:
        """Return how many samples of the epoch in progress this rank has still to train on.

        They are counted by what the loader has served: each batch once, whether it was trained on
        or skipped, and however often it has a sample.
        """
        if self.plan is None or not self.is_under_way() or self.is_over():
            return 0
        if self.score.keys is not None:  # a stream may always have more of them
            left = self.expected_visits() - self.findings.visits
            return max(1, -(-left // self.ranks.size))
        current = self._training_pass()
        left_of_pass = None if current is None else current.samples_left(self.record.last)
        if left_of_pass is not None:
            return left_of_pass
        return max(0, self._share_length() - self._distinct_visits())

    def _share_length(self) -> int:
        """Return how many samples of the epoch a sampler serves on this rank, from its start on."""
        assert self.plan is not None
        share = self.begun.of(self.plan)
        if share is not None:
            return -(-len(share) * share.world_size // self.ranks.size)
        return -(-self.plan.due.numel() // self.ranks.size)

    def _distinct_visits(self) -> int:
        """Return how many different samples the epoch has trained on in this process."""
        visits = self.record.num_visits
        if self.record.is_in_order():
            return visits
        counted_at, distinct = self._distinct
        if not counted_at <= visits < counted_at + max(1, self.num_samples // 100):
            self._distinct = counted_at, distinct = visits, self.record.num_distinct()
        return distinct + visits - counted_at

    def repeats(self) -> int:
        """Return how often the epoch serves each of its samples: 1, but for some batch samplers."""
        if not self.record or self.score.keys is not None:
            return 1
        current = self._training_pass()
        if current is not None and current.num_samples is not None:
            return 1
        left = None if current is None else current.samples_left(self.record.last)
        if current is None or left is None:
            return round(self.record.num_visits / max(1, self._distinct_visits()))
        return max(
            1, round((current.samples_done(self.record.last) + left) / max(1, self._share_length()))
        )

    def expected_visits(self) -> int:
        """Return how many samples of a stream the epoch will serve, as far as is known."""
        kept = 0 if self.plan is None else len(self.plan)
        return kept + max(0, self.expected_samples - self.num_samples)

    def expected_left(self) -> int:
        """Return how many of them a loader that begins now will serve."""
        done = self.findings.resumed.visits if self.is_resumed() else 0
        return max(0, self.expected_visits() - done)

    def position(self) -> tuple[int, int, int]:
        """Return the epoch's number, how many of its samples are behind, and of how many."""
        if self.is_over():
            return self.number + 1, 0, 1
        visits, size = self.findings.visits, self.ranks.size
        if self.score.keys is not None and self.expected_visits() == 0:
            return self.number, 0, 1  # the first pass over a stream: nobody knows where it ends
        current = self._training_pass()
        if current is not None and self.score.keys is None:
            done = self.findings.resumed.visits + size * current.samples_done(self.record.last)
            left = current.samples_left(self.record.last)
            if left is not None and self.record:
                return self.number, done, max(1, done + size * left)
            if left is None:
                done = self.findings.resumed.visits + size * self._distinct_visits()
        else:
            done = visits
            if self.score.keys is None and self.record:
                done = self.findings.resumed.visits + size * self._distinct_visits()
        return self.number, done, max(1, done + size * self.samples_due())

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
            if self.ranks.in_step > 1 or self.callbacks.all:
                self.advance()
                return True
            return False
        if current.is_trained or not current.is_graded or current.is_over:
            return False
        if self.ranks.in_step > 1 and self._joins(current):
            if current.plan is not self.plan:  # it was begun after an epoch that was left early
                self._enter(self._begun_by_training(current.plan))
            before = self.findings.resumed.visits
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
        return current.plan.epoch == self.number + 1 and self.is_over()

    def _note_whole_look(self, plan: Plan) -> None:
        """Warn if the same plan was served from beginning to end twice, without an update."""
        if plan is not self.plan or self.record:
            return
        self._looks += 1
        if self._looks == 2:
            logger.warning(
                "epoch %d was served twice from beginning to end without an update, so the same "
                "%s of %s samples come again and again. A loop that trains has to call "
                "train.update(loss) for each batch; one that only evaluates should do so under "
                "torch.no_grad(), or over the dataset itself",
                plan.epoch,
                f"{len(plan):,}",
                f"{self.num_samples:,}",
            )

    def advance(self) -> None:
        """Fold what the epoch has reported into the scores and go on to the next one."""
        self._enter(self._next())

    def _next(self, plan: Plan | None = None) -> Epoch:
        """Return the epoch after the one in progress, whose end callbacks are told.

        Arguments:
            plan: of the next epoch, if it is served already.
        """
        before, fold = self.now, self._fold()
        totals = self._summary(fold.visits, fold.left_out)
        self.conclude()
        if fold.left_out:
            logger.warning(
                "epoch %d: %d losses were not finite and were left out of scoring",
                before.number,
                fold.left_out,
            )
        return Epoch(
            before.number + 1,
            fold.score,
            EpochProgress(self.ranks),
            fold.score.num_samples,
            totals,
            fold.mean_loss if len(fold.batches) else before.mean_loss,
            fold.plan if plan is None else plan,
        )

    def _enter(self, epoch: Epoch) -> None:
        """Let an epoch take the place of the one before, and free what that one took.

        It may be called again with the same epoch, where an interrupt has cut it short.
        """
        self.now, self._began_at = epoch, time.perf_counter()
        self.lengths.forget(epoch.number)
        self.first_keys = {
            number: key for number, key in self.first_keys.items() if number >= epoch.number
        }
        self.passes.retire(epoch.number)  # the memory of a plan is wanted for the next one
        self.begun.retire(epoch.number)

    def conclude(self) -> None:
        """Tell callbacks what the epoch, which is over, came to: one rank does it for all.

        It comes before the epoch counts as over: in the next one, or in a state. So a job that is
        killed between the two does it again, and never misses it.

        Raises:
            Exception: what a callback raises, on one rank. On several it is logged, and the
                callbacks are removed, because the others would wait.
        """
        if self.callbacks.all and self.ranks.own == 0:
            self._tell(self._fold())

    def _tell(self, fold: Fold, *, was_served: bool = True) -> None:
        """Tell callbacks of an epoch that came to `fold`, as `conclude` does."""
        result = EpochResult(
            number=self.number,
            measurements=fold.batches,
            score=fold.score,
            mean_loss=fold.mean_loss,
            kept=0 if self.plan is None else len(self.plan),
            visits=fold.visits,
            seconds=self.seconds(),
            losses_left_out=fold.left_out,
            ranks=self.ranks.size,
            totals=self._summary(fold.visits, fold.left_out),
            was_served=was_served,
        )
        try:
            self.callbacks.end_epoch(result, fold.folded_at)
        except Exception:
            if self.ranks.in_step == 1:
                raise
            logger.exception(
                "epoch %d could not be recorded or logged: the run goes on without", self.number
            )
            self.callbacks.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is of this process: nothing follows a copy, or a worker's."""
        return {**vars(self), "lock": None, "callbacks": Callbacks(), "_counts_visits": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.lock = threading.RLock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Epochs:
        if self.callbacks.all:
            logger.warning(
                "a copy of a pruned dataset records and logs nothing: call record() with a folder "
                "of its own, log_to() and add_callback() on the copy"
            )
        copied = object.__new__(type(self))
        memo[id(self)] = copied
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return copied

    def pass_over(self, plan: Plan) -> None:
        """Go on to the epoch after `plan`, of which the loader could not make a single batch."""
        if plan is not self.plan or self.record:
            return  # just a look, in the middle of another epoch
        if self.findings.visits > 0:
            self.advance()  # a resumed epoch: what was still due made no batch
            return
        if plan.keys is not None and len(plan.keys) == 0:
            raise RuntimeError(
                "the stream yielded no sample, or with drop_last fewer than a batch: there is "
                "nothing to train on"
            )
        logger.warning(
            "epoch %d keeps %d samples, of which the loader makes no batch (drop_last with a "
            "larger batch size?): nothing is trained in it",
            plan.epoch,
            len(plan),
        )
        if self.callbacks.all and self.ranks.own == 0:
            self._tell(Fold(self.score, Measurements.none(), 0, 0, (0, 0)), was_served=False)
        self.now = replace(self.now, number=self.number + 1, plan=None, plan_ahead=None, fold=None)

    def mean_loss(self) -> float:
        """Return the mean loss of the last epoch that has ended; it is known here after it."""
        if (self.is_over() or self.samples_due() == 0) and self.knows_all():
            fold = self.folded()
            if len(fold.batches) > 0:
                return fold.mean_loss
        return self.now.mean_loss

    def summary(self) -> Summary:
        """Return the totals with the epoch in progress."""
        if self.is_done():
            fold = self.folded()
            return self._summary(fold.visits, fold.left_out)
        # not in the middle of an epoch: reading the losses would wait for their device
        return self._summary(self.findings.visits, left_out=0)

    def seconds(self) -> float:
        """Return the wall-clock seconds of the epoch in progress, up to its last update."""
        return self.findings.resumed.seconds + max(0.0, self._updated_at - self._began_at)

    def knows_all(self) -> bool:
        """Whether what all ranks have measured is known here, without a collective."""
        return self.findings.are_known(self._step())

    def latest_score(self) -> Score:
        """Return the scores with all that is known here; those at the epoch's start if not all."""
        return self.folded().score if self.knows_all() else self.score

    def measured(self) -> SavedProgress:
        """Return how far the epoch has come: with several ranks a collective."""
        if self.plan is None:  # nothing was served
            return SavedProgress()
        facts = {}
        if self.ranks.size > 1:
            self._agree(self.plan)
            facts = self._facts(self.plan)
        found = self.findings.gather(self._step(), self.num_samples, self.plan, facts)
        return replace(found, seconds=self.seconds(), repeats=self.repeats())

    def gathered(self) -> Fold:
        """Return what `folded` does, with what all ranks know now: a collective in any case.

        A rank that has made no update since the last time cannot tell whether others have.
        """
        self.now.fold = None
        self.findings.forget_others()
        return self._fold()

    def folded(self) -> Fold:
        """Return the scores with the findings folded in; the epoch's own stay as they are."""
        if not self.is_under_way():  # a rank that only looks, or asks for lengths, may be alone
            return Fold(self.score, Measurements.none(), 0, 0, (0, 0))
        return self._fold()

    def _fold(self) -> Fold:
        if self.plan is None or (self.findings.visits == 0 and self.ranks.size == 1):
            return Fold(self.score, Measurements.none(), 0, 0, (0, 0))
        now = self._step(), self.findings.visits
        if self.now.fold is None or self.now.fold.folded_at != now:
            self.now.fold = self._timed(lambda: self._fold_measured(now))
        return self.now.fold

    def _fold_measured(self, now: tuple[int, int]) -> Fold:
        measured = self.measured()
        every = measured.batches
        finite = every.finite()
        left_out = len(every) - len(finite)
        score = copy.deepcopy(self.score)
        if score.keys is not None:
            every = finite = score.register_keys(finite)
            self._check_keys(finite)
        if self.ranks.in_step > 1:
            # ranks that serve equally many samples repeat a few, which are not scored twice
            every, finite = every.first_visits(), finite.first_visits()
        score.record_visits(every)
        is_whole = self.plan is not None and len(self.plan) >= self.num_samples
        is_whole &= int(finite.sizes.sum()) >= WHOLE * self.num_samples  # and was not left early
        score.update_reliability(finite, is_whole=is_whole)
        score.fold(finite)
        return Fold(score, measured.batches, measured.visits, left_out, now)

    def _check_keys(self, batches: Measurements) -> None:
        """Warn if samples of a stream have come more than once in the epoch."""
        visits = batches.indices.numel()
        repeated = visits - count_distinct(batches.indices.numpy())
        if repeated >= self.ranks.size:
            logger.warning(
                "epoch %d: of %s sample visits %s were of a key that had come before. Each sample "
                "needs a key of its own, and no two workers or ranks may be given the same ones: "
                "does a stream with splits_itself=True really split itself?",
                self.number,
                f"{visits:,}",
                f"{repeated:,}",
            )

    def _step(self) -> int:
        """Return a number that changes with each step on all ranks, also if one skips an update."""
        if self.ranks.size == 1:  # here all is known by the visits
            return 0
        current = self._training_pass() or self.passes.trained
        return 0 if current is None else current.num_handed_over

    def _summary(self, visits: int, left_out: int) -> Summary:
        """Return the totals with an epoch in progress that has made `visits`."""
        if visits == 0 or self.plan is None:
            return self.totals
        kept = len(self.plan)
        return replace(
            self.totals,
            epochs=self.totals.epochs + 1,
            visits_made=self.totals.visits_made + visits,
            # a visit of an epoch that keeps K of N samples stands for N/K visits
            visits_avoided=self.totals.visits_avoided
            + min(visits, kept * self.repeats()) * (self.num_samples - kept) // max(1, kept),
            seconds=self.totals.seconds + self.seconds(),
            losses_left_out=self.totals.losses_left_out + left_out,
        )

    def _agree(self, plan: Plan) -> None:
        """Before the first update of a run counts, make sure that all ranks train alike."""
        if not self._have_agreed and self.ranks.in_step > 1:
            self.ranks.agree(self._facts(plan), self.record.first(), plan)
        self._have_agreed = True

    def _facts(self, plan: Plan) -> dict[str, Any]:
        """Return what has to be the same on all ranks."""
        keys = {}
        if plan.keys is not None:
            known = digest(torch.from_numpy(plan.keys.fingerprints))
            first = self.first_keys.get(self.number, 0)
            keys = {"known keys": known, "the stream's first key": first}
        facts = {**self.identity, **keys, "epoch": self.number}
        if self.ranks.are_apart:
            return {
                **facts,
                "ranks": self.ranks.in_step,
                "trained samples": self.findings.resumed.visits,
            }
        return {
            **facts,
            "scores": digest(self.score.values()),
            "planned samples": plan.digest(),
            "resumed samples": self.findings.resumed.visits,
        }

    def _next_plan(self, make_plan: MakePlan) -> Plan:
        """Return the plan of the epoch after the one in progress, as things stand.

        What other ranks have measured is not known before they all arrive, and a look, on one of
        them alone, must not wait for that: then the plan is made by the scores at the start of the
        epoch, which all ranks know.
        """
        now = self.now
        if not self.knows_all():
            if now.plan_ahead is None:
                now.plan_ahead = self._timed(lambda: make_plan(now.score, now.number + 1))
            return now.plan_ahead
        fold = self.folded()
        if fold.plan is None:
            fold.plan = self._timed(lambda: make_plan(fold.score, now.number + 1))
        return fold.plan

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

    def _timed(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, and add its time to that of planning."""
        started = time.perf_counter()
        result = call()
        spent = self.totals.planning_seconds + time.perf_counter() - started
        self.now.totals = replace(self.totals, planning_seconds=spent)
        return result

    def _log(self, plan: Plan) -> None:
        if not logger.isEnabledFor(logging.INFO):  # then no mean is computed either
            return
        logger.info(
            "epoch %d: serving %s of %s samples (%.1f%% skipped)%s, %.1f%% of visits saved before, "
            "mean score %.4g, reliability %.2f",
            plan.epoch,
            f"{len(plan):,}",
            f"{self.num_samples:,}",
            100 * (1 - len(plan) / max(1, self.num_samples)) if len(plan) else 0.0,
            "" if plan.keys is None else " whose keys are known, and all others",
            100 * self.totals.share_saved,
            float(self.score.values().sum()) / max(1, self.num_samples),
            self.score.reliability,
        )
