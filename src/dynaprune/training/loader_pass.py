"""One run of a loader over an epoch: which of its batches still wait for their update."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..losses.measurements import Indices
from ..planning.plan import Plan
from ..planning.weights import SampleWeights
from .batch import Batch
from .callers import Caller

if TYPE_CHECKING:
    from .passes import PassTracker


class LoaderPass:
    """One run of a loader over an epoch, from its first batch to its end or a `break`.

    Arguments:
        plan: the plan that it serves.
        num_samples: the number of samples in its batches: all of the share, or all but those that
            `drop_last` leaves out. `None` if a batch sampler of the user may repeat or drop some.
        num_batches: the number of its batches; `None` if unknown.
        tracker: the tracker of the pass. Loading a state replaces it: then the pass is outdated.

    Attributes:
        waiting: the batches that were yielded and have no update, the latest one last.
        first: the first batch that was updated.
        num_yielded: the number of batches that it has yielded.
        samples_yielded: the number of samples in these.
        last_weight: the mean weight of the batch that was yielded last.
        callers: the functions that asked for its first batch, the innermost one first.
        thread: the thread that did.
        was_ahead: whether a batch was asked for while another one waited.
        callers_differ: whether it was then asked for at another place in the code.
        is_open: whether more batches may come.
        is_complete: whether all of its batches were yielded.
        is_over: whether its epoch is over.
        is_explicit: whether a loop that fetches ahead has named the batch of an update.
        is_explicit_by_indices: whether it did so by indices, and may keep only copies of batches.
        is_followed: whether the next pass began while batches of this one still waited for updates.
        is_trained: whether one of its batches was updated.
        has_gradients: whether gradients were enabled when its first batch was asked for.
        was_passed_over: whether an update went to another pass while a batch waited here.
    """

    def __init__(
        self, plan: Plan, num_samples: int | None, num_batches: int | None, tracker: PassTracker
    ) -> None:
        self.plan = plan
        self.tracker = tracker
        self.num_samples = num_samples
        self.num_batches = num_batches
        self.waiting: list[Batch] = []
        self.first: Batch | None = None
        self.num_yielded = 0
        self.samples_yielded = 0
        self.last_weight: float | Tensor = 1.0
        self.callers: tuple[Caller, ...] = ()
        self.thread = 0
        self.was_ahead = False
        self.callers_differ = False
        self.is_open = True
        self.is_complete = False
        self.is_over = False
        self.is_explicit = False
        self.is_explicit_by_indices = False
        self.is_followed = False
        self.is_trained = False
        self.has_gradients = True
        self.was_passed_over = False

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to the loop: a copy of the dataset, or a worker, has none."""
        return {**vars(self), "waiting": [], "first": None, "callers": ()}

    def sample_weights(self, batch: Batch) -> SampleWeights:
        """Return the weights of a batch's samples."""
        return self.plan.sample_weights(batch.indices) if batch.weights is None else batch.weights

    def keeps_all(self) -> bool:
        """Whether batches live on after training: in a list of the loop, or in memory.

        Then a batch that waits may have been skipped, although it is alive.
        """
        return self.first is not None and self.first.is_alive()

    def note_named(self, batch: Batch, by_indices: bool) -> None:
        """Note that the loop has named the batch of an update.

        Arguments:
            batch: the batch.
            by_indices: whether the loop named it by indices.
        """
        if batch is not self.waiting[-1] or self.is_fetched_by_thread():
            self.is_explicit = True
            self.is_explicit_by_indices |= by_indices

    def is_fetched_by_thread(self) -> bool:
        """Whether another thread than this one asks for the batches, as some prefetchers do."""
        return self.thread != threading.get_ident()

    def end(self) -> None:
        """Note that all batches were yielded.

        Those that wait were skipped, unless the loop fetches ahead and names the batches that it
        updates; a pass that has made no update yet may still make one.
        """
        self.is_complete = True
        if self.is_trained and not self.is_explicit:
            self.waiting = []

    def is_awaited(self) -> bool:
        """Whether a loop that has fetched the last batches ahead will still update some."""
        if not (self.is_complete and self.is_explicit):
            return False
        return self.is_followed or any(map(self._may_be_updated, self.waiting))

    def samples_done(self, recorded: Indices | None) -> int:
        """Return how many samples were trained on or skipped.

        Arguments:
            recorded: the samples of the last step. Their batch no longer waits, even if `update`
                was interrupted, or a signal handler asks in the middle of it.
        """
        return self.samples_yielded - self._num_waiting(recorded)

    def samples_left(self, recorded: Indices | None) -> int | None:
        """Return how many samples are still to be trained on; `None` if unknown.

        Arguments:
            recorded: see `samples_done`.
        """
        waiting = self._num_waiting(recorded)
        if self.num_samples is not None:
            return max(0, self.num_samples - self.samples_yielded) + waiting
        if self.num_batches is None:
            return None
        to_come = max(0, self.num_batches - self.num_yielded)
        return -(-to_come * self.samples_yielded // max(1, self.num_yielded)) + waiting

    def _num_waiting(self, recorded: Indices | None) -> int:
        if not self.waiting:  # as in nearly every step
            return 0
        earlier, last = self.waiting[:-1], self.waiting[-1:]
        waiting = [each for each in earlier if self._may_be_updated(each)] + last
        return sum(len(each) for each in waiting if each.indices is not recorded)

    def _may_be_updated(self, batch: Batch) -> bool:
        """Whether a batch that others follow may still be trained on."""
        return self.is_explicit and (self.is_explicit_by_indices or not batch.is_gone())
