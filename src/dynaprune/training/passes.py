"""Which batch an update is about, while loaders run over an epoch.

Usually one loop fetches a batch and updates it before it fetches the next. Where it does not, a
batch is known by what is left of it (is one of its tensors still alive?) and by who asked for it
(did those functions ever train a batch before they asked for another?). What these cannot tell is
refused.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..losses.measurements import Indices
from ..planning.plan import Plan
from ..planning.weights import SampleWeights
from .places import Place, depth_of, manner_of, places_from

LEAVES = 4
"""Tensors of a batch that it is known by, at most."""

MOST_WAITING = 256
"""Batches without an update that are remembered, at most: a pass that evaluates has many."""

SEARCHED = 64
"""Parts of a batch that are searched for them, at most."""


@dataclass(slots=True, eq=False)  # one a step: frozen, it would take three times as long
class Batch:
    """A batch that was yielded, and is still without an update.

    Attributes:
        indices: its samples; of a stream, the fingerprints of their keys.
        mean_weight: their mean weight.
        weights: float32, shape (B,): their weights, if the plan does not know them, as of a stream,
            or if they are on a device already.
        leaves: its first tensors.
        rows: the length of one of them that has a row for each sample, or of the first; 0 for none.
    """

    indices: Indices
    mean_weight: float | Tensor
    weights: NDArray[np.float32] | Tensor | None
    leaves: tuple[weakref.ref[Any], ...]
    rows: int

    def __len__(self) -> int:
        return len(self.indices)

    def is_alive(self) -> bool:
        """Whether somebody holds on to it."""
        return any(leaf() is not None for leaf in self.leaves)

    def is_gone(self) -> bool:
        """Whether nobody does, as far as can be told."""
        return bool(self.leaves) and not self.is_alive()

    def is_part_of(self, given: Any) -> bool:
        """Whether `given` is this batch, or one of its tensors."""
        leaves = [leaf() for leaf in self.leaves]
        return any(any(each is leaf for leaf in leaves) for each in leaves_of(given))


def batch_of(
    content: Any,
    indices: Indices,
    mean_weight: float | Tensor,
    weights: NDArray[np.float32] | Tensor | None = None,
) -> Batch:
    """Return a batch that is to be yielded.

    Arguments:
        content: what the loop gets.
        indices: as those of `Batch`.
        mean_weight: likewise.
        weights: likewise.
    """
    leaves = leaves_of(content)
    rows, num_samples = _rows_of(leaves[0]) if leaves else 0, indices.shape[0]
    if leaves and rows != num_samples and num_samples in map(_rows_of, leaves):
        rows = num_samples
    return Batch(indices, mean_weight, weights, tuple(map(weakref.ref, leaves)), rows)


class LoaderPass:
    """One run of a loader over an epoch, from its first batch to its end or a `break`.

    Arguments:
        plan: what the run serves.
        num_samples: how many samples its batches hold; all of the share, or all but a tail that
            the loader drops. `None` if a batch sampler of the user's own may repeat or drop some.
        num_batches: how many batches it has; `None` if that is not known.
        home: the passes that were under way when it began: others are, once a state is loaded.

    Attributes:
        waiting: the batches that were yielded and are without an update, the last one last.
        first: the first batch that was updated.
        num_handed_over: how many batches it has yielded.
        samples_handed_over: how many samples these had.
        was_ahead: whether a batch was asked for while another waited.
        asked_by: the functions that asked for its first batch, the innermost one first.
        thread: the thread that did.
        asks_differ: whether a batch was asked for elsewhere while another waited.
        last_weight: the mean weight of the last batch that it has yielded.
        is_open: whether more batches may come.
        is_over: whether its epoch is over.
        is_whole: whether it has come to its end.
        is_told: whether a loop that fetches ahead has said which of its batches an update is about.
        is_told_by_indices: whether it said so by indices, and may keep copies only.
        is_followed: whether the next pass began while batches of this one were to be updated yet.
        is_trained: whether `update` has taken one of its batches.
        is_graded: whether gradients were enabled when its first batch was asked for.
        was_passed_over: whether an update went to another pass while a batch was waiting here.
    """

    def __init__(
        self, plan: Plan, num_samples: int | None, num_batches: int | None, home: PassTracker
    ) -> None:
        self.plan = plan
        self.home = home
        self.num_samples = num_samples
        self.num_batches = num_batches
        self.waiting: list[Batch] = []
        self.first: Batch | None = None
        self.num_handed_over = 0
        self.samples_handed_over = 0
        self.was_ahead = False
        self.asked_by: tuple[Place, ...] = ()
        self.thread = 0
        self.asks_differ = False
        self.last_weight: float | Tensor = 1.0
        self.is_open = True
        self.is_over = False
        self.is_whole = False
        self.is_told = False
        self.is_told_by_indices = False
        self.is_followed = False
        self.is_trained = False
        self.is_graded = True
        self.was_passed_over = False

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is of the loop: a copy of the dataset, or a worker, has none."""
        return {**vars(self), "waiting": [], "first": None, "asked_by": ()}

    def sample_weights(self, batch: Batch) -> SampleWeights:
        """Return the weights of a batch's samples."""
        return self.plan.sample_weights(batch.indices) if batch.weights is None else batch.weights

    def keeps_all(self) -> bool:
        """Whether what was trained lives on: in a list of the loop's, or where data is in memory.

        Then a batch that waits may have been skipped, although it lives.
        """
        return self.first is not None and self.first.is_alive()

    def be_told(self, batch: Batch, by_indices: bool) -> None:
        """Take note that the loop has said which batch an update is about."""
        if batch is not self.waiting[-1] or self.is_fetched_apart():
            self.is_told = True
            self.is_told_by_indices |= by_indices

    def is_fetched_apart(self) -> bool:
        """Whether another thread than this one asks for the batches, as some prefetchers do."""
        return self.thread != threading.get_ident()

    def end(self) -> None:
        """Take note that all batches were yielded.

        Those that wait were skipped, unless the loop fetches ahead and says which batch it updates;
        one that has made no update yet may still do so.
        """
        self.is_whole = True
        if self.is_trained and not self.is_told:
            self.waiting = []

    def is_awaited(self) -> bool:
        """Whether updates are to come, from a loop that has fetched the last batches ahead."""
        if not (self.is_whole and self.is_told):
            return False
        return self.is_followed or any(map(self._may_be_updated, self.waiting))

    def samples_done(self, recorded: Indices | None) -> int:
        """Return how many samples were trained on or skipped.

        Arguments:
            recorded: the samples of the last step of all: their batch waits no longer, even where
                `update` was cut short, or is asked in its middle, by the handler of a signal.
        """
        return self.samples_handed_over - self._num_waiting(recorded)

    def _num_waiting(self, recorded: Indices | None) -> int:
        if not self.waiting:  # as in nearly every step
            return 0
        earlier, last = self.waiting[:-1], self.waiting[-1:]
        waiting = [each for each in earlier if self._may_be_updated(each)] + last
        return sum(len(each) for each in waiting if each.indices is not recorded)

    def _may_be_updated(self, batch: Batch) -> bool:
        """Whether a batch that others follow is still to be trained on."""
        return self.is_told and (self.is_told_by_indices or not batch.is_gone())

    def samples_left(self, recorded: Indices | None) -> int | None:
        """Return how many samples are still to be trained on; `None` if that is not known."""
        waiting = self._num_waiting(recorded)
        if self.num_samples is not None:
            return max(0, self.num_samples - self.samples_handed_over) + waiting
        if self.num_batches is None:
            return None
        to_come = max(0, self.num_batches - self.num_handed_over)
        return -(-to_come * self.samples_handed_over // max(1, self.num_handed_over)) + waiting


class PassTracker:
    """The passes that are under way.

    A loop may look at batches of its own loader in the middle of an epoch, as `next(iter(loader))`
    does, or evaluate on it. Each such run is a pass of its own.

    Attributes:
        trained: the pass that the last update came from; `None` if it came from another
            library's loader.
    """

    def __init__(self) -> None:
        self._passes: list[
            LoaderPass
        ] = []  # those under way, the last one to hand over a batch last
        self._plain: set[tuple[Any, ...]] = set()  # manners of asking that do not fetch ahead
        self.trained: LoaderPass | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is of the code that runs here."""
        return {**vars(self), "_plain": set()}

    def set_current(self, current: LoaderPass, batch: Batch) -> None:
        """Let a batch wait for its update: the next one that `current` yields."""
        if not current.asked_by:
            asker = sys._getframe(2)  # of the loader's generator, which has called this
            current.asked_by = tuple(places_from(asker))
            current.thread = threading.get_ident()
            current.is_graded = torch.is_grad_enabled()
        if current.waiting:
            del current.waiting[:-MOST_WAITING]
            current.was_ahead = True
            current.asks_differ |= sys._getframe(2).f_lasti != current.asked_by[0].instruction
        current.waiting.append(batch)
        current.last_weight = batch.mean_weight
        current.num_handed_over += 1
        current.samples_handed_over += batch.indices.shape[0]
        if not self._passes or self._passes[-1] is not current:
            others = [each for each in self._passes if each is not current]
            for each in others:
                each.is_followed |= each.is_awaited()
            live = [each for each in others if each.is_open or (each.is_whole and each.waiting)]
            self._passes = [*live, current]

    def close(self, current: LoaderPass) -> None:
        """End a pass. If it is the only one, its last batch may still be updated."""
        current.is_open = False
        others = [each for each in self._passes if each is not current or each.is_awaited()]
        self._passes = others or self._passes

    def to_update(self, done: str = "update() was called") -> tuple[LoaderPass, Batch]:
        """Return the batch that an update is about, and its pass.

        Arguments:
            done: what the user did, for messages.

        Raises:
            RuntimeError: no batch waits, or it cannot be told which; the message says what to do.
        """
        latest = self._passes[-1] if self._passes else None
        is_usual = latest is not None and len(self._passes) == len(latest.waiting) == 1
        if is_usual and latest is not None and latest.is_open and not latest.was_ahead:
            return latest, latest.waiting[0]
        if latest is None or _was_only_looked_at(latest):
            raise RuntimeError(
                f"{done} before a batch was served by dynaprune.DataLoader. Iterate "
                "over DataLoader(train, sampler=train.sampler, ...) of dynaprune: the DataLoader "
                "of torch does not tell which samples are in a batch. With another loader, give "
                "it train.with_indices() and call update(loss, indices=indices). Under Accelerate, "
                "use prepare of dynaprune.integrations.accelerate"
            )
        waiting = [each for each in self._passes if each.waiting and not each.is_whole]
        candidates = [each for each in waiting if not each.is_over or each is latest]
        if not candidates:
            raise RuntimeError(_nothing_waits(latest, done))
        current = candidates[0] if len(candidates) == 1 else _one_of(candidates, done)
        # a run that was taken for a look, and goes on, was none
        if current.was_passed_over or (latest.was_passed_over and latest.waiting):
            raise RuntimeError(_several_wait(done))
        if current.was_ahead and not current.is_over:
            self._check_order(current, done)
        return current, current.waiting[-1]

    def current_weight(self, done: str) -> float | Tensor:
        """Return the mean weight of the batch that was yielded last, updated or not.

        Arguments:
            done: what the user did, for messages.

        Raises:
            RuntimeError: no batch was yielded, or it cannot be told which one counts.
        """
        trained, latest = self.trained, self._latest
        if latest is not None and latest is trained and latest.is_open and not latest.waiting:
            return latest.last_weight
        return self.to_update(done)[1].mean_weight

    def holding(self, content: Any) -> tuple[LoaderPass, Batch]:
        """Return the batch that `content` is, or is a part of, and its pass.

        Raises:
            RuntimeError: no batch that waits for its update is.
        """
        for current in reversed(self._passes):
            for batch in current.waiting:
                if batch.is_part_of(content):
                    return current, batch
        raise RuntimeError(
            f"update(loss, batch=...) was given a {type(content).__name__} that is no batch of "
            "dynaprune.DataLoader which waits for its update, nor a tensor of one: give what the "
            "loader yielded, before it is copied or moved, or give the loader train.with_indices() "
            "and call update(loss, indices=indices)"
        )

    def of(self, indices: Indices) -> tuple[LoaderPass, Batch] | None:
        """Return the batch that has these samples, in this order, and its pass, if one waits."""
        if not self._passes or isinstance(indices, Tensor):
            return None
        found = [
            (current, batch)
            for current in reversed(self._passes)
            for batch in current.waiting
            if np.array_equal(batch.indices, indices)
        ]
        alive = [each for each in found if not each[1].is_gone()]
        return next(iter(alive or found), None)

    def take(self, current: LoaderPass | None, batch: Batch) -> None:
        """Let a batch be updated: neither it nor those before it wait any longer.

        It may be called again, where an interrupt has cut it short. Without a pass, the batch was
        said by indices that are of no batch of our loader.
        """
        if current is None:
            self.forget()
            return
        is_first = not current.is_trained and current.num_handed_over == 1
        if is_first and not current.is_fetched_apart():
            self._plain.add(manner_of(current.asked_by))
        if current.waiting and current.waiting[-1] is batch:
            current.waiting = []
        else:
            places = [place for place, each in enumerate(current.waiting) if each is batch]
            current.waiting = current.waiting[places[0] + 1 :] if places else current.waiting
        if not current.waiting:
            current.was_ahead = False
        if not current.is_trained:
            current.first = batch
        current.is_trained, current.was_passed_over = True, False
        self.trained = current

    def skip(self) -> LoaderPass:
        """Let the last batch go without an update, because the loop skips it; return its pass.

        Raises:
            RuntimeError: none waits.
        """
        latest = self._latest
        if latest is None or not latest.waiting:
            raise RuntimeError(
                "skip_batch() was called, but no batch waits for its update: call it in place of "
                "update(), once for each batch that is skipped"
            )
        latest.waiting.clear()
        return latest

    def forget(self) -> None:
        """Let the last batch be updated by way of indices that are not its own."""
        if self._latest is not None:
            self._latest.waiting.clear()
        self.trained = None

    def retire(self, number: int) -> None:
        """Let passes of epochs before `number` hold no more of their plans than messages need."""
        for each in [*self._passes, *([] if self.trained is None else [self.trained])]:
            if each.plan.epoch < number and not each.is_over:
                each.plan, each.is_over = each.plan.retired(), True
                each.first = None  # its weights may be a part of those of the whole epoch

    def under_way(self) -> LoaderPass | None:
        """Return the pass that handed over a batch last and is not at its end."""
        latest = self._latest
        return latest if latest is not None and latest.is_open else None

    def follower(self) -> LoaderPass | None:
        """Return the pass over the next epoch that began while this one awaits its last updates."""
        latest = self.under_way()
        if self.trained is None or not self.trained.is_followed or latest is self.trained:
            return None
        return latest

    @property
    def _latest(self) -> LoaderPass | None:
        return self._passes[-1] if self._passes else None

    def _check_order(self, current: LoaderPass, done: str) -> None:
        """Make sure that the loss is of the last batch, and those before it were skipped.

        Raises:
            RuntimeError: that cannot be told.
        """
        *earlier, last = current.waiting
        is_plain = manner_of(current.asked_by) in self._plain
        if is_plain and current.keeps_all():
            is_skipping = True
        else:
            is_loop = _asks_itself(current) and not current.asks_differ and last.is_alive()
            is_held = any(each.is_alive() for each in earlier)
            is_skipping = (is_plain or is_loop) and not is_held
        if current.is_fetched_apart() or not is_skipping:
            raise RuntimeError(
                f"{done}, but the loader has yielded another batch before, which is without an "
                "update, so it cannot be told which one the loss is of. A loop that fetches ahead "
                "says it: update(loss, batch=batch) with what the loader yielded, or, where it "
                "copies batches, give the loader train.with_indices() and call "
                "update(loss, indices=indices). A loop that skips a batch calls "
                "train.skip_batch() for it"
            )
        current.waiting, current.was_ahead = [last], False


def _one_of(candidates: list[LoaderPass], done: str) -> LoaderPass:
    """Return the pass whose batch an update is about, where several have one that waits.

    Raises:
        RuntimeError: that cannot be told.
    """
    kept = [each for each in candidates if not each.was_passed_over] or candidates
    kept = [each for each in kept if not each.waiting[-1].is_gone()] or kept
    if len(kept) > 1:
        depths = [depth_of(each.asked_by) for each in kept]
        kept = [each for each, depth in zip(kept, depths, strict=True) if depth == min(depths)]
    if len(kept) == 1:
        return kept[0]
    if any(each.is_trained for each in kept):
        raise RuntimeError(_several_wait(done))
    # before the first update of all: an iterator was made to look at a batch, and then the loop.
    # Should it have been the other way round, the next update tells
    *others, latest = kept
    for each in others:
        each.was_passed_over = True
    return latest


def _was_only_looked_at(latest: LoaderPass) -> bool:
    """Whether a pass was left after a batch that nobody has any more."""
    if latest.is_open or not latest.waiting or not latest.waiting[-1].is_gone():
        return False
    return depth_of(latest.asked_by[:1]) == sys.maxsize


def _several_wait(done: str) -> str:
    return (
        f"{done}, but several iterators over the loader have each yielded a batch that is without "
        "an update, so it cannot be told which one the loss is of. Say it, by "
        "update(loss, batch=batch) with what the loader yielded, or delete the iterator that only "
        "looks at batches before you go on"
    )


def leaves_of(content: Any) -> list[Any]:
    """Return the first tensors of a batch, or other objects that can be told from copies."""
    found: list[Any] = []
    parts = [content]
    for part in parts:  # which grows: the outer ones come first
        if type(part) is Tensor:  # the usual case; other tensors are found below
            found.append(part)
        elif isinstance(part, (list, tuple)):
            parts += part[: SEARCHED - len(parts)]
        elif isinstance(part, Mapping):
            parts += islice(part.values(), SEARCHED - len(parts))
        elif type(part).__weakrefoffset__:
            found.append(part)
        if found[LEAVES - 1 :]:  # enough, without a call of len()
            break
    return found


def _rows_of(leaf: Any) -> int:
    is_array = isinstance(leaf, (Tensor, np.ndarray)) and leaf.ndim > 0
    return leaf.shape[0] if is_array else 0


def _nothing_waits(latest: LoaderPass, done: str) -> str:
    if latest.is_open:
        return (
            f"{done} twice for one batch. Add up the losses of a batch first and call it once "
            "with their sum. An optimizer that evaluates the loss of a batch several times (LBFGS) "
            "updates with the first evaluation, and multiplies the others by train.batch_weight"
        )
    return (
        f"{done} after the last batch, or twice for it. Call it once for each "
        "batch, before the next one is fetched. If the loop fetches batches ahead, call "
        "update(loss, batch=batch) with what the loader yielded, or give the loader "
        "train.with_indices() and call update(loss, indices=indices)"
    )


def _asks_itself(current: LoaderPass) -> bool:
    """Whether the function that asked for the batches of a pass is running: it is the loop's."""
    return bool(current.asked_by) and depth_of(current.asked_by[:1]) < sys.maxsize
