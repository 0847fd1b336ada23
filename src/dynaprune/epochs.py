"""The life of epochs: which one it is, what it serves, what it has reported, when it is over."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from .batches import Batches
from .distributed import Ranks
from .drawing import count_distinct
from .epoch_metrics import metrics_of
from .findings import Findings, Progress
from .passes import Pass, Passes
from .plan import Indices, Plan, digest
from .record import LossRecord
from .recording import Course, Recorder
from .scores import Score
from .share import Share
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
    where all ranks come by: when a loader has served an epoch, when one begins after an epoch
    that was left early, and in `end_epoch` and `state_dict`. Whatever else reads scores, lengths or
    weights makes do with what is known.

    Arguments:
        num_samples: N, of the dataset; of a stream 0, as long as none of its samples is known.
        identity: what runs that train together, or one after the other, have in common.

    Attributes:
        num_samples: of the epoch.
        expected_samples: how many a stream is said to have; 0 if it is not said.
        first_keys: by epoch, the fingerprint of the first key of a stream that is the same on all
            ranks.
        number: of the epoch, from 0.
        plan: of the epoch; made when it is first needed.
        score: the scores at its start.
        findings: what it has reported.
        passes: the runs of loaders that are under way.
        begun: what the sampler was given last.
        totals: of the epochs before it.
        ranks: the processes that train together.
        recorder: where each epoch that is over is written, if anywhere.
        loggers: what gets its numbers.
    """

    def __init__(self, num_samples: int, identity: Mapping[str, Any]) -> None:
        self.num_samples = num_samples
        self.expected_samples = 0
        self.first_keys: dict[int, int] = {}
        self.identity = identity
        self.number = 0
        self.plan: Plan | None = None
        self.score: Score
        self.ranks = Ranks()
        self.findings = Findings(self.ranks)
        self.passes = Passes()
        self.begun: Share | None = None
        self.totals = Summary()
        self.recorder: Recorder | None = None
        self.loggers: list[Any] = []
        self._have_agreed = False
        self._lengths: dict[int, tuple[Plan, int, int]] = {}  # by epoch, of ranks that are apart
        self._fold: Fold | None = None  # the findings, folded, as far as they were then
        self._times_begun = 0
        self._began_at = 0.0
        self._updated_at = 0.0

    def restore(
        self,
        number: int,
        score: Score,
        totals: Summary,
        resumed: Progress | None = None,
        plan: Plan | None = None,
    ) -> None:
        """Go on in epoch `number`, as if all before it had been trained here.

        Arguments:
            number: of the epoch.
            score: the scores at its start.
            totals: of the epochs before it.
            resumed: how far it has come.
            plan: its plan, with what is still due, if it has come anywhere.
        """
        if self.recorder is not None:
            self.recorder.start(totals.planning_seconds)
        self.number, self.score, self.totals = number, score, totals
        self.num_samples = score.num_samples
        self.plan, self.findings = plan, Findings(self.ranks, resumed)
        self.passes, self.begun = Passes(), None
        self._fold, self._have_agreed, self._lengths = None, False, {}
        self._began_at = self._updated_at = 0.0

    def start_recording(self, recorder: Recorder) -> None:
        """From now on, write each epoch that is over, the one in progress included."""
        self.recorder = recorder
        self.score.count_visits()
        recorder.start(self.totals.planning_seconds)
        self._fold = None  # it was made without counting

    def begin(self, make_plan: MakePlan) -> Plan:
        """Return the plan that a loader is to serve from now on; the sampler's share is `begun`."""
        started = time.perf_counter()
        if self.is_over():
            self.advance()
        plan = self.coming_plan(make_plan)
        if len(self.record) == 0:
            self._began_at = started
        else:  # in the middle of an epoch: the next one, if this run trains, or just a look
            plan = self._next_plan(make_plan)
        return plan

    def hand_out(self, share: Share) -> Share:
        """Remember what the sampler serves from now on, and return it."""
        self.begun = share
        self._times_begun += 1
        return share

    def agree_on_length(self, plan: Plan) -> tuple[int, int]:
        """Return the fewest and the most samples that a rank has due: a collective, once a plan.

        Only for ranks that are apart. In the first epoch all have equally many.
        """
        if (known := self.agreed_length(plan)) is not None:
            return known
        due = plan.due.numel()
        is_first = plan.epoch == 0 or self.ranks.in_step == 1
        least, most = (due, due) if is_first else self.ranks.range_of(due)
        self._lengths = {each: self._lengths[each] for each in self._lengths if each >= self.number}
        self._lengths[plan.epoch] = plan, least, most
        return least, most

    def agreed_length(self, plan: Plan) -> tuple[int, int] | None:
        """Return what `agree_on_length` has found out about a plan, if it has been called."""
        known = self._lengths.get(plan.epoch)
        return None if known is None or known[0] is not plan else known[1:]

    def begun_by(self, call: Callable[[], T]) -> tuple[T, Share | None]:
        """Return what `call` returns, and the share that a sampler has begun in it, if one has."""
        times_begun = self._times_begun
        result = call()
        return result, None if self._times_begun == times_begun else self.begun

    def coming_plan(self, make_plan: MakePlan) -> Plan:
        """Return the plan of the epoch that is being served or about to be."""
        if self.is_over() and self.knows_all():
            self.advance()
        if self.plan is None:
            self.plan = self._timed(lambda: make_plan(self.score, self.number))
        return self.plan

    def report(self, plan: Plan, batch: Indices, loss: Tensor, current: Pass | None) -> None:
        """Take down the loss of a batch.

        Arguments:
            plan: the plan that the batch was served by.
            batch: its samples.
            loss: its mean loss, those of its slices, or one loss a sample.
            current: the pass that has served it, or `None` if another library's loader has.
        """
        if plan is not self.plan:
            self._go_on_to(plan)
        record = self.findings.record
        is_first = record.num_visits == 0
        if is_first:
            record = self.findings.record = LossRecord(self._order_of(plan))
        record.append(batch, loss)
        if self.recorder is not None:
            self.recorder.note_step()
        if is_first:
            self._log(plan)
            self._agree(plan)
        self._updated_at = time.perf_counter()
        if current is None:
            self.passes.forget_batch()
        else:
            self.passes.take(current)

    def _order_of(self, plan: Plan) -> Tensor:
        """Return the samples of a plan in the order in which this rank serves them, if known."""
        if plan.keys is not None:  # the samples of a stream are said by keys of 64 bits
            return torch.empty(0, dtype=torch.int64, device="cpu")
        begun = self.begun
        return plan.order[:0] if begun is None or begun.plan is not plan else begun.order

    def is_over(self) -> bool:
        """Whether the epoch was trained on and its pass has ended."""
        trained = self.passes.trained
        return len(self.record) > 0 and trained is not None and not trained.is_open

    def is_done(self) -> bool:
        """Whether nothing of an epoch is due any more, and its measurements are known here."""
        return self.findings.visits > 0 and self.samples_due() == 0 and self.knows_all()

    @property
    def record(self) -> LossRecord:
        """What this rank has reported in this process."""
        return self.findings.record

    def is_resumed(self) -> bool:
        """Whether an epoch that was begun before a checkpoint is about to be gone on with."""
        return len(self.record) == 0 and self.findings.visits > 0

    def samples_due(self) -> int:
        """Return how many samples of the epoch in progress this rank has still to train on."""
        if self.plan is None or self.findings.visits == 0 or self.is_over():
            return 0
        if self.score.keys is not None:  # a stream may always have more of them
            left = self.expected_visits() - self.findings.visits
            return max(1, -(-left // self.ranks.size))
        trained, begun = self.passes.trained, self.begun
        if trained is not None:
            served = trained.num_samples
        elif begun is not None and begun.plan is self.plan:
            served = -(-len(begun) * begun.world_size // self.ranks.size)
        else:
            served = -(-self.plan.due.numel() // self.ranks.size)
        return max(0, served - self.record.num_visits)

    def expected_visits(self) -> int:
        """Return how many samples of a stream the epoch will serve, as far as is known."""
        kept = 0 if self.plan is None else len(self.plan)
        return kept + max(0, self.expected_samples - self.num_samples)

    def expected_left(self) -> int:
        """Return how many of them a loader that begins now will serve."""
        done = self.findings.resumed.visits if self.is_resumed() else 0
        return max(0, self.expected_visits() - done)

    def position(self) -> tuple[int, int, int]:
        """Return the epoch's number, how many of its samples were trained on, and of how many."""
        if self.is_over():
            return self.number + 1, 0, 1
        visits = self.findings.visits
        if self.score.keys is not None and self.expected_visits() == 0:
            return self.number, 0, 1  # the first pass over a stream: nobody knows where it ends
        return self.number, visits, max(1, visits + self.ranks.size * self.samples_due())

    def finish(self, current: Pass) -> bool:
        """Go on to the next epoch where `current` has trained this one to its end on all ranks.

        Here all ranks come by; later, one alone may save a checkpoint or read scores. An epoch that
        is to be recorded or logged is ended here also on one rank: nothing comes by after the last.
        """
        is_trained = current is self.passes.trained and current.plan is self.plan
        is_awaited = self.recorder is not None or bool(self.loggers)
        if is_trained and (self.ranks.in_step > 1 or is_awaited):
            self.advance()
            return True
        return False

    def advance(self) -> None:
        """Fold what the epoch has reported into the scores and go on to the next one."""
        fold = self.folded()
        self._write_down(fold)
        if fold.left_out:
            logger.warning(
                "epoch %d: %d losses were not finite and were left out of scoring",
                self.number,
                fold.left_out,
            )
        seconds, self.totals = self.seconds(), self._summary(fold.visits, fold.left_out)
        over = self.plan
        metrics = self._metrics(fold, seconds)
        self.number, self.score, self.plan = self.number + 1, fold.score, fold.plan
        self.num_samples = fold.score.num_samples
        self.findings, self._fold = Findings(self.ranks), None
        self._lengths.pop(self.number - 1, None)
        self.first_keys.pop(self.number - 1, None)
        if over is not None:  # its memory is wanted for the next plan
            self.passes.retire(over)
            if self.begun is not None and self.begun.plan is over:
                self.begun = self.begun.retired()
        for each in self.loggers if metrics else []:  # last: one that raises has changed nothing
            each.log(metrics, self.number - 1)

    def _write_down(self, fold: Fold) -> None:
        """Record the epoch, which is over, if that was asked for: one rank does it for all."""
        if self.recorder is not None and self.ranks.own == 0:
            kept = 0 if self.plan is None else len(self.plan)
            course = Course(
                kept,
                fold.visits,
                self.seconds(),
                self.totals.planning_seconds,
                fold.left_out,
                self.ranks.size,
            )
            self.recorder.write(self.number, fold.batches, fold.score, course)

    def _metrics(self, fold: Fold, seconds: float) -> dict[str, float]:
        """Return the numbers of the epoch, which is over, for loggers: one rank logs for all."""
        if not self.loggers or self.ranks.own > 0:
            return {}
        kept = 0 if self.plan is None else len(self.plan)
        return metrics_of(fold.batches, fold.score, kept, seconds, self.totals, fold.left_out)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is of this process: a copy, or a worker, records and logs nothing."""
        return {**vars(self), "recorder": None, "loggers": []}

    def pass_over(self, plan: Plan) -> None:
        """Go on to the epoch after `plan`, of which the loader could not make a single batch."""
        if plan is not self.plan or len(self.record) > 0:
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
        self._write_down(Fold(self.score, Batches.none(), 0, 0, (0, 0)))
        self.number, self.plan = self.number + 1, None

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

    def known_score(self) -> Score:
        """Return the scores with all that is known here; those at the epoch's start if not all."""
        return self.folded().score if self.knows_all() else self.score

    def measured(self) -> Progress:
        """Return how far the epoch has come: with several ranks a collective."""
        if self.plan is None:  # nothing was served
            return Progress()
        facts = self._facts(self.plan) if self.ranks.size > 1 else {}
        found = self.findings.gather(self._step(), self.num_samples, self.plan, facts)
        return replace(found, seconds=self.seconds())

    def folded(self) -> Fold:
        """Return the scores with the findings folded in; the epoch's own stay as they are."""
        visits = self.findings.visits
        if visits == 0:
            return Fold(self.score, Batches.none(), 0, 0, (0, 0))
        now = self._step(), visits
        if self._fold is None or self._fold.folded_at != now:
            self._fold = self._timed(lambda: self._fold_measured(now))
        return self._fold

    def _fold_measured(self, now: tuple[int, int]) -> Fold:
        measured = self.measured()
        every = measured.batches
        finite = every.finite()
        left_out = len(every) - len(finite)
        score = copy.deepcopy(self.score)
        if score.keys is not None:
            every = finite = score.admit(finite)
            self._check_keys(finite)
        if self.ranks.in_step > 1:
            # ranks that serve equally many samples repeat a few, which are not scored twice
            every, finite = every.first_visits(), finite.first_visits()
        score.remember(every)
        is_whole = self.plan is not None and len(self.plan) >= self.num_samples
        is_whole &= int(finite.sizes.sum()) >= WHOLE * self.num_samples  # and was not left early
        score.compare(finite, is_whole=is_whole)
        score.fold(finite)
        return Fold(score, measured.batches, measured.visits, left_out, now)

    def _check_keys(self, batches: Batches) -> None:
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
        trained = self.passes.trained
        return 0 if trained is None else trained.num_handed_over

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
            + min(visits, kept) * (self.num_samples - kept) // max(1, kept),
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
            known = digest(torch.tensor(plan.keys.fingerprints))
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
        """Return the plan of the epoch after the one in progress, as things stand."""
        fold = self.folded()
        if fold.plan is None:
            fold.plan = self._timed(lambda: make_plan(fold.score, self.number + 1))
        return fold.plan

    def _go_on_to(self, plan: Plan) -> None:
        """End the epoch in progress, because a batch of the next one, by `plan`, is trained on."""
        if self.plan is None or plan.epoch == self.number:
            raise RuntimeError(
                "this batch is of a loop that was begun before load_state_dict() was called: leave "
                f"that loop, and begin a new one to go on in epoch {self.number}"
            )
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
    batches: Batches
    visits: int
    left_out: int
    folded_at: tuple[int, int]
    plan: Plan | None = None
