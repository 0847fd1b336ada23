"""What happens beside training: recording, logging, and whatever a user adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from ..losses.measurements import Measurements
    from ..pruned_dataset import PrunedDataset
    from ..scores import Score
    from .summary import Summary


@dataclass(frozen=True)
class EpochResult:
    """What an epoch came to, for `Callback.on_epoch_end`.

    Attributes:
        number: the epoch's number, from 0.
        measurements: the losses of its batches on all ranks, also those that are not finite.
        score: the score with these losses folded in; `score.values()` is float32, shape (N,).
            Callbacks must not change it.
        mean_loss: the mean of the finite losses over the sample visits, before weights; NaN if no
            loss was finite.
        kept: how many samples the epoch was planned to serve.
        visits: how many sample visits all ranks made.
        seconds: how many wall-clock seconds the epoch took.
        losses_left_out: how many losses were not finite.
        ranks: how many processes made these visits together.
        totals: the totals of the run, with this epoch.
        was_served: `False` if the loader could not make a single batch of the planned samples, as
            with `drop_last` and a large batch size. Then nothing was measured.
    """

    number: int
    measurements: Measurements
    score: Score
    mean_loss: float
    kept: int
    visits: int
    seconds: float
    losses_left_out: int
    ranks: int
    totals: Summary
    was_served: bool = True


class Callback:
    """Follows a run beside its training; `PrunedDataset.add_callback` adds one.

    A callback cannot stop a run, because `on_epoch_end` is called on one rank only. The loop can:
    `train.reliability` and `train.mean_loss` are the same on all ranks.

    Override what you need: each method does nothing by default. A callback may read the pruned
    dataset, but must not train or load a state.

    Example:
        >>> from dynaprune import DataLoader, NoPrune
        >>> from dynaprune.tracking import Callback
        >>> class Printer(Callback):
        ...     def on_epoch_end(self, result):
        ...         print(result.number, result.visits, result.mean_loss)
        >>> train = NoPrune(range(20), num_epochs=2)
        >>> train.add_callback(Printer())
        >>> for epoch in range(2):
        ...     for batch in DataLoader(train, batch_size=10):
        ...         _ = train.update(batch.float())
        0 20 9.5
        1 20 9.5
    """

    is_required: ClassVar[bool] = False
    """Whether an epoch is over only once `on_epoch_end` has returned.

    Required callbacks come first. One that raises is called again for the same epoch if the run
    goes on, so it must cope with a result that it has seen. Others are called once.
    """

    def on_attach(self, train: PrunedDataset) -> None:
        """Prepare for a run; called once, when the callback is added.

        Arguments:
            train: the pruned dataset that the callback was added to.
        """

    def on_step(self) -> None:
        """Follow a step; called on every rank by each `update`, before its loss is recorded.

        If it raises, the update has not happened. It should not wait for a device.
        """

    def on_epoch_end(self, result: EpochResult) -> None:
        """Follow the end of an epoch; called on the first rank for all.

        It is called before a checkpoint counts the epoch as over. An epoch that goes on after a
        state was taken at its end comes again, with more visits; so do epochs that are repeated
        after `load_state_dict`, and the one that was in progress when a process was killed.

        On one rank, what it raises is raised in the training loop; only `state_dict` logs it. On
        several it is logged, no callback is called any more, and the run goes on, because the other
        ranks would wait.

        Arguments:
            result: what the epoch came to. Of a `Sharded` dataset, each rank has its own results.
        """

    def on_resume(self, totals: Summary) -> None:
        """Follow `load_state_dict`: the epochs before the one that comes next are those of a state.

        Arguments:
            totals: the totals of these epochs.
        """


class Callbacks:
    """The callbacks of a run, the required ones first.

    Attributes:
        all: the callbacks, in the order in which they are called.
    """

    def __init__(self) -> None:
        self.all: tuple[Callback, ...] = ()
        self._told: tuple[int, ...] | None = None  # the epoch that was told last, as far as it was
        self._is_telling = False

    def add(self, callback: Callback, train: PrunedDataset) -> None:
        """Add a callback to those of a run, behind the others that are as required as it is."""
        callback.on_attach(train)
        self.all = tuple(sorted((*self.all, callback), key=lambda each: not each.is_required))

    def remove(self, callback: Callback) -> None:
        """Remove a callback."""
        self.all = tuple(each for each in self.all if each is not callback)

    def clear(self) -> None:
        """Remove all callbacks."""
        self.all = ()

    def step(self) -> None:
        """Tell all of a step."""
        for callback in self.all:
            callback.on_step()

    def resume(self, totals: Summary) -> None:
        """Tell all that the run goes on from a state."""
        self._told = None
        for callback in self.all:
            callback.on_resume(totals)

    def end_epoch(self, result: EpochResult, version: tuple[int, ...]) -> None:
        """Tell all of the end of an epoch, once.

        Arguments:
            result: what the epoch came to.
            version: another one if the epoch has gone on since it was told.
        """
        told = result.number, *version
        # a signal's handler, or a callback, may ask for a state meanwhile, which ends the epoch too
        if self._is_telling or self._told == told:
            return
        try:
            self._is_telling = True
            for callback in self.all:
                if callback.is_required:
                    callback.on_epoch_end(result)
            self._told = told  # before the others: one of them that raises is not called again
            for callback in self.all:
                if not callback.is_required:
                    callback.on_epoch_end(result)
        finally:
            self._is_telling = False
