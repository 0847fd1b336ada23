"""The passes over epochs that are under way, and the batches that wait for their update."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..losses.measurements import Indices
from .batch import Batch
from .callers import CallSite, call_site_of, callers_from
from .loader_pass import LoaderPass
from .updated_batch import check_skipped, pass_to_update

MOST_WAITING = 256
"""The most batches without an update that a pass remembers: a pass that evaluates has many."""


class PassTracker:
    """The passes that are under way.

    A loop may look at batches of its own loader in the middle of an epoch, as `next(iter(loader))`
    does, or evaluate on it. Each such run is a pass of its own.

    Attributes:
        trained: the pass of the last update; `None` if its batch was served by another library's
            loader.
    """

    def __init__(self) -> None:
        # the one that has yielded a batch last at the end
        self._passes: list[LoaderPass] = []
        # where loops have updated a first batch before they asked for a second
        self._plain: set[CallSite] = set()
        self.trained: LoaderPass | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to the code that runs in this process."""
        return {**vars(self), "_plain": set()}

    def set_current(self, current: LoaderPass, batch: Batch) -> None:
        """Let a batch wait for its update: the one that `current` is about to yield.

        The loader's generator has to call this itself: whoever calls that is asking for the batch.
        """
        if not current.callers:
            current.callers = tuple(callers_from(sys._getframe(2)))
            current.thread = threading.get_ident()
            current.has_gradients = torch.is_grad_enabled()
        if current.waiting:
            del current.waiting[:-MOST_WAITING]
            current.was_ahead = True
            current.callers_differ |= sys._getframe(2).f_lasti != current.callers[0].instruction
        current.waiting.append(batch)
        current.last_weight = batch.mean_weight
        current.num_yielded += 1
        current.samples_yielded += batch.indices.shape[0]
        if not self._passes or self._passes[-1] is not current:
            others = [each for each in self._passes if each is not current]
            for each in others:
                each.is_followed |= each.is_awaited()
            live = [each for each in others if each.is_open or (each.is_complete and each.waiting)]
            self._passes = [*live, current]

    def close(self, current: LoaderPass) -> None:
        """End a pass. If it is the only one, its last batch may still be updated."""
        current.is_open = False
        others = [each for each in self._passes if each is not current or each.is_awaited()]
        self._passes = others or self._passes

    def to_update(self, done: str = "update() was called") -> tuple[LoaderPass, Batch]:
        """Return the batch that an update is about, and its pass; see `updated_batch`.

        Arguments:
            done: what the user did, for messages.

        Raises:
            RuntimeError: no batch waits, or it is unknown which one the update is about; the
                message says what to do.
        """
        latest = self._passes[-1] if self._passes else None
        is_usual = latest is not None and len(self._passes) == len(latest.waiting) == 1
        if is_usual and latest is not None and latest.is_open and not latest.was_ahead:
            return latest, latest.waiting[0]
        current = pass_to_update(self._passes, done)
        if current.was_ahead and not current.is_over:
            check_skipped(current, self._plain, done)
            current.waiting, current.was_ahead = current.waiting[-1:], False
        return current, current.waiting[-1]

    def current_weight(self, done: str) -> float | Tensor:
        """Return the mean weight of the batch that was yielded last, updated or not.

        Arguments:
            done: what the user did, for messages.

        Raises:
            RuntimeError: no batch was yielded, or it is unknown which one is meant.
        """
        trained, latest = self.trained, self._latest
        if latest is not None and latest is trained and latest.is_open and not latest.waiting:
            return latest.last_weight
        return self.to_update(done)[1].mean_weight

    def find_by_content(self, content: Any) -> tuple[LoaderPass, Batch]:
        """Return the waiting batch that `content` is, or is a part of, and its pass.

        Raises:
            RuntimeError: no batch is pending.
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

    def find_by_indices(self, indices: Indices) -> tuple[LoaderPass, Batch] | None:
        """Return the waiting batch that has these samples, in this order, and its pass, if any."""
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

    def note_updated(self, current: LoaderPass | None, batch: Batch) -> None:
        """Note that a batch was updated: neither it nor those before it wait any longer.

        If an interrupt has cut it short, it may be called again.

        Arguments:
            current: the pass; `None` if indices were given that belong to no batch of our loader.
            batch: the batch.
        """
        if current is None:
            self.forget()
            return
        is_first = not current.is_trained and current.num_yielded == 1
        if is_first and not current.is_fetched_by_thread():
            self._plain.add(call_site_of(current.callers))
        if current.waiting and current.waiting[-1] is batch:
            current.waiting = []
        else:
            positions = [number for number, each in enumerate(current.waiting) if each is batch]
            current.waiting = current.waiting[positions[0] + 1 :] if positions else current.waiting
        if not current.waiting:
            current.was_ahead = False
        if not current.is_trained:
            current.first = batch
        current.is_trained, current.was_passed_over = True, False
        self.trained = current

    def skip_waiting(self) -> LoaderPass:
        """Remove the waiting batches of the latest pass, because the loop skips the last one.

        Returns:
            The pass.

        Raises:
            RuntimeError: no batch waits.
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
        """Note that the last batch was updated by indices that are not its own."""
        if self._latest is not None:
            self._latest.waiting.clear()
        self.trained = None

    def retire(self, number: int) -> None:
        """Free the plans of passes of epochs before `number`, except for what messages need."""
        for each in [*self._passes, *([] if self.trained is None else [self.trained])]:
            if each.plan.epoch < number and not each.is_over:
                each.plan, each.is_over = each.plan.retired(), True
                each.first = None  # its weights may be a part of those of the whole epoch

    def open_pass(self) -> LoaderPass | None:
        """Return the pass that has yielded a batch last, if more may come."""
        latest = self._latest
        return latest if latest is not None and latest.is_open else None

    def next_pass(self) -> LoaderPass | None:
        """Return the pass over the next epoch that began before the last updates of this one."""
        latest = self.open_pass()
        if self.trained is None or not self.trained.is_followed or latest is self.trained:
            return None
        return latest

    @property
    def _latest(self) -> LoaderPass | None:
        return self._passes[-1] if self._passes else None
