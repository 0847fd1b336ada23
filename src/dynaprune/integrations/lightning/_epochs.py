"""The epochs of the Trainer and those of the pruned datasets: both begin and end together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...pruned_dataset import PrunedDataset
from ._lengths import (
    announce,
    count_batches,
    count_updated_batch,
    leave_ended_epoch,
    length_of,
    restarted_at,
)
from ._loaders import check_fetching, serves_pruned

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


class EpochLengths:
    """Tells the Trainer the length of each epoch.

    Attributes:
        batches: the number of batches of the current epoch; infinity if it is unknown.
    """

    def __init__(self) -> None:
        self.batches: float = 0
        self._next: float | None = None  # while the Trainer ends an epoch that was resumed
        self._has_old_iterators = False  # whether a state was loaded after they were created
        self._started_at: dict[int, float] = {}  # the progress of each pruned dataset, by its id

    def resume(self, batches: float) -> None:
        """Continue the epoch of a checkpoint, whose state the pruned datasets have loaded.

        Arguments:
            batches: the number of batches of that epoch.
        """
        self.batches, self._has_old_iterators = batches, True

    def renew_iterators(self) -> None:
        """Note that the Trainer has created its loaders' iterators anew."""
        self._has_old_iterators = False

    def begin_epoch(self, trainer: Trainer, datasets: list[PrunedDataset]) -> None:
        """Tell the Trainer the length of the epoch that begins or continues.

        Arguments:
            trainer: the Trainer.
            datasets: the pruned datasets that it trains.

        Raises:
            ValueError: the Trainer would fetch a batch ahead.
        """
        loop = trainer.fit_loop
        leave_ended_epoch(trainer)
        if not any(train.epochs.position.is_resumed() for train in datasets):
            count_updated_batch(trainer)
        done, is_over = restarted_at(trainer)
        for train in datasets:
            if is_over or not train.epochs.position.is_resumed():
                self._has_old_iterators |= train.epochs.position.is_resumed()
                train.end_epoch()
        if self._has_old_iterators:
            iter(loop._data_fetcher)
            self._has_old_iterators = False
        check_fetching(loop._data_fetcher)
        batches = self._count(trainer, 0 if is_over else done)
        if not math.isinf(batches):
            loop._data_fetcher.length = batches
        if batches == 0 and trainer.max_epochs != -1:
            batches = math.inf  # 0 would end the run, but only this epoch has no batch
        self._next = batches if is_over else None
        self.batches = done if is_over else batches
        announce(trainer, self.batches)
        self._started_at = {id(train): train.progress for train in datasets}

    def _count(self, trainer: Trainer, done: int) -> float:
        """Return the length of an epoch in which `done` batches were trained before."""

        def length(loader: Any) -> float:
            return length_of(loader) + (done if serves_pruned(loader) else 0)

        batches = count_batches(trainer, length)
        if done and len(trainer.fit_loop._combined_loader.flattened) > 1:
            return self.batches or batches  # other loaders may have begun a new epoch meanwhile
        return batches

    def begin_batch(self, trainer: Trainer) -> None:
        """Switch to the length of the next epoch, if the Trainer has just ended a resumed one."""
        if self._next is not None:
            self.batches, self._next = self._next, None
            announce(trainer, self.batches)

    def skip_empty_epochs(self, trainer: Trainer) -> None:
        """At the end of an epoch, advance datasets whose loader had no batch in it."""
        for loader in filter(serves_pruned, trainer.fit_loop._combined_loader.flattened):
            train = loader.dataset
            if len(loader) == 0 and train.progress == self._started_at.get(id(train)):
                next(iter(loader), None)
