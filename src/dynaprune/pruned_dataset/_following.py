"""Following: recordings, loggers, reports and tables of a run.

Each method hands on to `dynaprune.tracking`, which it imports only when it is called: a run that
nothing follows needs none of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..training.callbacks import Callback
from ._base import Base

if TYPE_CHECKING:
    from ..tracking.loggers import Logger
    from .dataset import PrunedDataset


class Following(Base):
    """Lets others follow a run."""

    def record(
        self,
        directory: str | os.PathLike[str],
        *,
        optimizer: Any = None,
        max_megabytes: float = 1024.0,
        overwrite: bool = False,
    ) -> None:
        """From now on, write what each epoch has measured to a directory, when it is over.

        `report` makes a page of it, and `read_recording` reads the losses, which take about 8 bytes
        a sample visit at most (a stream's: 12). Beside them there are some kilobytes an epoch, and
        scores and visits of all samples after the last one, 8 bytes a sample; how often each sample
        was visited is counted from now on, also through checkpoints. A step costs nothing.

        With several ranks, call it on all; the first one writes. Each part of a `Sharded` dataset
        has a folder of its own in there, `rank-0` and so on.

        A resumed run goes on in the same directory and overwrites the epochs that it repeats; call
        `load_state_dict` before or after. A run that begins anew does not: if the directory holds
        epochs, its first `update` raises. So it is with a run that was killed before its first
        checkpoint and is started again: that needs `overwrite`, or another directory. Two processes
        that write to one recording are noticed when an epoch is written.

        Arguments:
            directory: it is made if it is not there.
            optimizer: whose learning rate is taken down at each step, if given; that of its first
                group, where it is no tensor on a device.
            max_megabytes: that the losses may take, above 0: beyond, those of the oldest epochs are
                removed.
            overwrite: whether a run that begins anew replaces the recording that is there, also one
                of other arguments. A resumed run goes on with its own all the same.

        Raises:
            TypeError: an argument is of another type.
            ValueError: `max_megabytes` is 0 or below.
            OSError: the directory cannot be made; later, in the loop, a file cannot be written.
            RuntimeError: the directory holds the recording of another run, or files that are called
                like those of a recording and are not; later, in the loop, this run begins anew but
                there are epochs of another, or another process writes there.

        Example:
            >>> import tempfile, torch
            >>> from dynaprune import DataLoader, NoPrune, read_recording
            >>> train, folder = NoPrune(range(100), num_epochs=2), tempfile.mkdtemp()
            >>> train.record(folder)
            >>> for _ in range(2):
            ...     for batch in DataLoader(train, batch_size=10):
            ...         _ = train.update(batch.float().mean())
            >>> [len(batches) for batches in read_recording(folder)]
            [10, 10]
        """
        from ..tracking.recording.start import start_recording

        start_recording(self._whole(), directory, optimizer, max_megabytes, overwrite=overwrite)

    def log_to(self, *loggers: Logger) -> None:
        """Give the numbers of each epoch to loggers, from now on, when it is over.

        These are `pruning/visits`, `pruning/share_served` (of the samples, in this epoch),
        `pruning/share_saved` (of all visits so far), `pruning/seconds`, `pruning/mean_loss` (of
        what was served, before weights), `pruning/mean_score`, `pruning/reliability` (from the
        second epoch on) and `pruning/losses_left_out`. With several ranks, call it on all; the
        first one logs, of a `Sharded` dataset its own part. An epoch that was left early is over,
        and logged, when the next one begins or `end_epoch` is called.

        Arguments:
            loggers: any objects with a method `log(metrics, epoch)`; there are `TensorBoardLogger`,
                `WandbLogger` and `MLflowLogger` in `dynaprune.tracking.loggers`.

        Raises:
            TypeError: one has no such method.

        Example:
            >>> import tempfile
            >>> from dynaprune import NoPrune
            >>> from dynaprune.tracking.loggers import MLflowLogger, TensorBoardLogger, WandbLogger
            >>> train = NoPrune(range(100), num_epochs=2)
            >>> train.log_to(TensorBoardLogger(tempfile.mkdtemp()))
        """
        from ..tracking.loggers.callback import LoggerCallback

        callbacks = [LoggerCallback(each) for each in loggers]
        if self.epochs.source.part.get("rank", 0) == 0:
            for callback in callbacks:
                self.add_callback(callback)

    def add_callback(self, callback: Callback) -> None:
        """Let a callback follow the run from now on, as recordings and loggers do.

        `Callback` says what is called when; after recordings, callbacks are called in the order in
        which they were added. `on_epoch_end` gets what an epoch came to, also the last one, as soon
        as the loader has served all of it; of an epoch that was left early, when the next one
        begins or `end_epoch` is called.

        With several ranks, call it on all: each is told of its steps, and the first one of the
        epochs, with what all have measured. Each part of a `Sharded` dataset is told of its own
        epochs. Copies of the pruned dataset have no callbacks, and checkpoints do not hold them:
        add them again before or after `load_state_dict`.

        Arguments:
            callback: an object of a subclass of `Callback`.

        Raises:
            TypeError: it is none.

        Example:
            >>> from dynaprune import DataLoader, RandomPrune
            >>> from dynaprune.tracking import Callback
            >>> class Skipped(Callback):
            ...     def on_epoch_end(self, result):
            ...         print(result.number, result.score.num_samples - result.kept)
            >>> train = RandomPrune(range(20), num_epochs=2, saving=0.5)
            >>> train.add_callback(Skipped())
            >>> for _ in range(2):
            ...     for batch in DataLoader(train, batch_size=5):
            ...         _ = train.update(batch.float())
            0 10
            1 10
        """
        if not isinstance(callback, Callback):
            raise TypeError(
                "callback must be an object of a subclass of dynaprune.tracking.Callback, but "
                f"{callback!r} was given"
            )
        with self.epochs.lock:
            self.epochs.callbacks.add(callback, self._whole())

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        labels: Any = None,
        view: Callable[[Any], Any] | None = None,
    ) -> Path:
        """Write a page that shows what the recorded epochs have skipped: one file, no network.

        With several ranks, call it on the first one. It needs the extra `report`. The page is drawn
        in a process of its own, so that a library that aborts does not end the training. A sample
        that cannot be read or shown has the name of its error in its place.

        Arguments:
            path: of the page, such as `report.html`.
            labels: of all samples, shape (N,), for how each class fared; by default what a
                map-style dataset has at hand, in `targets`, `labels`, or the second tensor of a
                `TensorDataset`.
            view: returns what of a sample is to be shown, as a picture (PIL's, or an array), a text
                or the numbers of a sound; by default that is found out.

        Returns:
            The path.

        Raises:
            ImportError: a package that draws the page is not installed.
            RuntimeError: nothing was recorded yet, or the process that draws has failed; then there
                is no page, or the one that was there.
            ValueError: `labels` are of another number of samples.
        """
        from ..tracking.recording.start import recorded_directory
        from ..tracking.report import write_report  # it needs what an extra brings

        directory = recorded_directory(self._whole())
        dataset = None if self.is_stream else self.dataset
        return write_report(directory, path, dataset=dataset, labels=labels, view=view)

    def to_frame(self, ids: Iterable[Any] | None = None) -> Any:
        """Return what is known of each sample as a pandas DataFrame, to look for wrong labels, say.

        Its columns are `score`; `error`, the score's standard error, where the score knows it;
        `visits` and `skipped`, in how many epochs that are over a sample was served and was not,
        where that is counted (since `record` was called); and `next_weight`, the weight that it
        will have in the coming epoch, 0 if that skips it. `frame.to_parquet(path)` writes it to a
        file. It needs the extra `export`.

        Arguments:
            ids: the dataset's own names of its samples, in their order; by default their indices.
                Of a stream, the keys of those that are wanted; those that have never come are left
                out, and by default there are the fingerprints of all.

        Raises:
            ImportError: pandas is not installed.
            ValueError: `ids` are of another number of samples, or not each sample's own.

        Example:
            >>> import torch
            >>> from dynaprune import BLS, DataLoader, InfoBatch
            >>> train = BLS(InfoBatch(range(4), num_epochs=3)).proxy()
            >>> for batch in DataLoader(train, batch_size=1):
            ...     _ = train.update(batch.float())
            >>> train.to_frame(ids=["a", "b", "c", "d"])["score"].idxmax()
            'd'
        """
        from ..tracking.dataframe import samples_frame

        return samples_frame(self._whole(), ids)

    def _whole(self) -> PrunedDataset:
        return cast("PrunedDataset", self)
