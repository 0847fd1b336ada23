"""What is known of a run at the moment."""

from __future__ import annotations

import copy
import logging
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..losses.buffer import LossBuffer
from ..planning.plan import Plan
from ..scores import Score
from .callbacks import Callbacks, EpochResult
from .epoch import Epoch
from .fold import Fold, fold
from .passes import PassTracker
from .position import Position, StreamPosition
from .progress import EpochProgress, SavedProgress
from .sample_source import SampleSource
from .served_shares import ServedShares
from .summary import Summary

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("dynaprune")


class Readings:
    """The epoch in progress, and what is known of it; `Epochs` adds how one follows another.

    Reading changes nothing that training depends on, so other threads may read while one trains:
    each takes the lock. What other ranks have measured is known only
    after a collective: `measured` and `gathered` are collectives, all else uses what is known here.

    Arguments:
        source: the data set.
        identity: what runs that train together, or one after the other, have in common.

    Attributes:
        lock: held by whoever reads or changes any of this.
        now: the epoch.
        callbacks: what follows the run: recording, logging, and what a user has added.
        source: the data set.
        ranks: the processes that train together.
        passes: the passes of loaders that are under way.
        served_shares: what samplers serve.
        identity: the identity, with that of the data set.
        first_keys: by epoch, the fingerprint of the first key of a stream that is the same on all
            ranks.
    """

    now: Epoch

    def __init__(self, source: SampleSource, identity: dict[str, Any]) -> None:
        self.lock = threading.RLock()
        self.source, self.ranks = source, source.ranks
        self.callbacks = Callbacks()
        self.identity = {**identity, **source.identity}
        self.passes, self.served_shares = PassTracker(), ServedShares()
        self.first_keys: dict[int, int] = {}
        self._have_agreed = False
        self._followed: tuple[str, ...] = ()  # by recordings and tables, not by the method

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
    def progress(self) -> EpochProgress:
        """What the epoch has measured so far."""
        return self.now.progress

    @property
    def record(self) -> LossBuffer:
        """What this rank has reported in this process."""
        return self.now.progress.record

    @property
    def position(self) -> Position:
        """Where the run is in the epoch."""
        kind = StreamPosition if self.source.is_stream else Position
        return kind(self.now, self.passes, self.served_shares, self.source)

    def is_done(self) -> bool:
        """Whether nothing of an epoch is due any more, and its measurements are known here."""
        return self.progress.visits > 0 and self.position.samples_due() == 0 and self.knows_all()

    def knows_all(self) -> bool:
        """Whether what all ranks have measured is known here, without a collective."""
        return self.progress.are_known(self.position.step())

    def latest_score(self) -> Score:
        """Return the scores with all that is known here; those at the epoch's start if not all."""
        return self.folded().score if self.knows_all() else self.score

    def known_samples(self) -> int:
        """Return N; of a stream, the samples that are known by now."""
        if self.source.num_samples > 0:  # without the lock: other threads and forked processes ask
            return self.source.num_samples
        with self.lock:
            return (self.folded().score if self.is_done() else self.score).num_samples

    def mean_loss(self) -> float:
        """Return the mean loss of the last epoch that has ended and is known here."""
        position = self.position
        if (position.is_over() or position.samples_due() == 0) and self.knows_all():
            ended = self.folded()
            if len(ended.batches) > 0:
                return ended.mean_loss
        return self.now.mean_loss

    def summary(self) -> Summary:
        """Return the totals with the epoch in progress."""
        if self.is_done():
            return self._totals_with(self.folded())
        # not in the middle of an epoch: reading the losses would wait for their device
        repeats = self.position.repeats()
        return self.now.totals_with(self.progress.visits, left_out=0, repeats=repeats)

    def measured(self) -> SavedProgress:
        """Return how far the epoch has come: with several ranks a collective."""
        if self.plan is None:  # nothing was served
            return SavedProgress()
        facts = {}
        if self.ranks.size > 1:
            self._agree(self.plan)
            facts = self._facts(self.plan)
        position, check = self.position, self.source.check_measurements
        check_own = partial(check, num_samples=self.now.num_samples)
        found = self.progress.gather(position.step(), check_own, self.plan, facts)
        return replace(found, seconds=self.now.seconds, repeats=position.repeats())

    def gathered(self) -> Fold:
        """Return what `folded` does, with what all ranks know now: a collective in any case.

        A rank that has made no update since the last time cannot tell whether others have.
        """
        self.now.fold = None
        self.progress.forget_others()
        return self._fold()

    def folded(self) -> Fold:
        """Return the scores with the measurements folded in; the epoch's own stay as they are."""
        if not self.position.is_under_way():  # a rank that only looks, or asks for lengths
            return Fold.of_nothing(self.score)
        return self._fold()

    def _fold(self) -> Fold:
        now = self.now
        if now.plan is None or (self.progress.visits == 0 and self.ranks.size == 1):
            return Fold.of_nothing(now.score)
        at = self.position.step(), self.progress.visits
        if now.fold is None or now.fold.folded_at != at:
            now.fold = now.timed(
                lambda: fold(now.score, self.measured(), now.plan, now.number, self.source, at)
            )
        return now.fold

    def _totals_with(self, ended: Fold) -> Summary:
        return self.now.totals_with(ended.visits, ended.left_out, self.position.repeats())

    def _result(self, ended: Fold, was_served: bool) -> EpochResult:
        return EpochResult(
            number=self.number,
            measurements=ended.batches,
            score=ended.score,
            mean_loss=ended.mean_loss,
            kept=0 if self.plan is None else len(self.plan),
            visits=ended.visits,
            seconds=self.now.seconds,
            losses_left_out=ended.left_out,
            ranks=self.ranks.size,
            totals=self._totals_with(ended),
            was_served=was_served,
        )

    def _agree(self, plan: Plan) -> None:
        """Before the first update of a run counts, make sure that all ranks train alike."""
        if not self._have_agreed and self.ranks.world_size > 1:
            self.ranks.agree(self._facts(plan), self.record.first(), plan)
        self._have_agreed = True

    def _facts(self, plan: Plan) -> dict[str, Any]:
        """Return what has to be the same on all ranks."""
        first_key, resumed = self.first_keys.get(self.number, 0), self.progress.resumed.visits
        facts = self.source.facts(plan, self.score, resumed, first_key)
        return {**self.identity, "epoch": self.number, **facts}

    # Copies

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is of this process: nothing follows a copy, or a worker's."""
        return {**vars(self), "lock": None, "callbacks": Callbacks(), "_followed": ()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.lock = threading.RLock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if self.callbacks.all:
            logger.warning(
                "a copy of a pruned dataset records and logs nothing: call record() with a folder "
                "of its own, log_to() and add_callback() on the copy"
            )
        copied = object.__new__(type(self))
        memo[id(self)] = copied
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return copied
