"""Where a run is in its epoch: what is behind, what is due, and whether the epoch is over."""

from __future__ import annotations

from dataclasses import dataclass

from .epoch import Epoch
from .loader_pass import LoaderPass
from .passes import PassTracker
from .sample_source import SampleSource
from .served_shares import ServedShares
from .sources import KeyedSource


@dataclass(frozen=True)
class Position:
    """The position in an epoch, read from what follows the run; it changes nothing.

    Attributes:
        now: the epoch.
        passes: the passes of loaders that are under way.
        served_shares: what samplers serve.
        source: the data set.
    """

    now: Epoch
    passes: PassTracker
    served_shares: ServedShares
    source: SampleSource

    def is_over(self) -> bool:
        """Whether the epoch was trained on and its pass has ended."""
        trained = self.passes.trained
        if trained is None or trained.plan is not self.now.plan or not self.now.progress.record:
            return False
        return not trained.is_open and not trained.is_awaited()

    def is_resumed(self) -> bool:
        """Whether an epoch that was begun before a checkpoint is about to continue."""
        return not self.now.progress.record and self.now.progress.visits > 0

    def is_under_way(self) -> bool:
        """Whether the epoch has come anywhere, on this rank or, as far as it can tell, on others.

        A rank that has skipped all batches so far goes through the epoch with the others.
        """
        return self.now.progress.visits > 0 or (
            self.source.ranks.size > 1
            and self.now.plan is not None
            and self.training_pass() is not None
        )

    def training_pass(self) -> LoaderPass | None:
        """Return the pass of our loader that trains the epoch, if one does."""
        plan, record = self.now.plan, self.now.progress.record
        trained, current = self.passes.trained, self.passes.open_pass()
        if trained is not None and trained.plan is plan and record:
            return trained
        joins = self.source.ranks.world_size > 1 and current is not None and current.has_gradients
        return current if joins and current is not None and current.plan is plan else None

    def step(self) -> int:
        """Return a number that changes with each step on all ranks, also if one skips an update."""
        if self.source.ranks.size == 1:  # then the visits tell everything
            return 0
        current = self.training_pass() or self.passes.trained
        return 0 if current is None else current.num_yielded

    def samples_due(self) -> int:
        """Return how many samples of the epoch this rank has still to train on.

        They are counted by what the loader has served: each batch once, whether it was trained on
        or skipped, and however often a batch sampler repeats a sample.
        """
        if self.now.plan is None or not self.is_under_way() or self.is_over():
            return 0
        return self._samples_left()

    def _samples_left(self) -> int:
        current = self.training_pass()
        left_of_pass = (
            None if current is None else current.samples_left(self.now.progress.record.last)
        )
        if left_of_pass is not None:
            return left_of_pass
        return max(0, self._share_length() - self._distinct_visits())

    def repeats(self) -> int:
        """Return how often the epoch serves each of its samples: 1, but for some batch samplers."""
        record = self.now.progress.record
        if not record:
            return 1
        current = self.training_pass()
        if current is not None and current.num_samples is not None:
            return 1
        left = None if current is None else current.samples_left(record.last)
        if current is None or left is None:
            return round(record.num_visits / max(1, self._distinct_visits()))
        served = current.samples_done(record.last) + left
        return max(1, round(served / max(1, self._share_length())))

    def behind_and_total(self) -> tuple[int, int, int]:
        """Return the epoch's number, how many of its samples are behind, and of how many."""
        if self.is_over():
            return self.now.number + 1, 0, 1
        progress, size = self.now.progress, self.source.ranks.size
        done = progress.visits
        before, current = progress.resumed.visits, self.training_pass()
        left = None if current is None else current.samples_left(progress.record.last)
        if current is not None and left is not None:
            done = before + size * current.samples_done(progress.record.last)
            if progress.record:
                return self.now.number, done, max(1, done + size * left)
        elif current is not None or progress.record:
            done = before + size * self._distinct_visits()
        return self.now.number, done, max(1, done + size * self.samples_due())

    def _share_length(self) -> int:
        """Return how many samples of the epoch a sampler serves on this rank, from its start on."""
        assert self.now.plan is not None
        share, size = self.served_shares.of(self.now.plan), self.source.ranks.size
        if share is not None:
            return -(-len(share) * share.world_size // size)
        return -(-self.now.plan.due.numel() // size)

    def _distinct_visits(self) -> int:
        """Return how many different samples the epoch has trained on in this process.

        They are counted anew after each percent of the samples: in between, visits are taken to be
        of new ones, so that asking in every step stays cheap.
        """
        record = self.now.progress.record
        visits = record.num_visits
        if record.is_in_order():
            return visits
        counted_at, distinct = self.now.distinct
        if not counted_at <= visits < counted_at + max(1, self.now.num_samples // 100):
            self.now.distinct = counted_at, distinct = visits, record.num_distinct()
        return distinct + visits - counted_at


class StreamPosition(Position):
    """The position in an epoch of a stream, which may always have more samples than expected."""

    source: KeyedSource

    def expected_visits(self) -> int:
        """Return how many samples the epoch will serve on all ranks, as far as is known."""
        return self.source.expected_visits(self.now.plan, self.now.num_samples)

    def _samples_left(self) -> int:
        left = self.expected_visits() - self.now.progress.visits
        return max(1, -(-left // self.source.ranks.size))

    def repeats(self) -> int:
        """Return 1: nothing repeats the samples of a stream."""
        return 1

    def behind_and_total(self) -> tuple[int, int, int]:
        """Return the epoch's number, how many of its samples are behind, and of how many."""
        if self.is_over():
            return self.now.number + 1, 0, 1
        if self.expected_visits() == 0:  # in the first pass nobody knows where it ends
            return self.now.number, 0, 1
        done = self.now.progress.visits
        return self.now.number, done, max(1, done + self.source.ranks.size * self.samples_due())
