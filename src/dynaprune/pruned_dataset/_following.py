"""Following: recordings, loggers, reports and tables of a run.

Each method hands on to `dynaprune.tracking`, which it imports only when it is called: a run that
nothing follows needs none of it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..scores.extras import EACH_SAMPLE
from ..training.callbacks import Callback
from ._base import Base

if TYPE_CHECKING:
    from ..tracking.loggers import Logger
    from ..tracking.review import Verdicts
    from .dataset import PrunedDataset

logger = logging.getLogger("dynaprune")


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
        """Write the losses of each epoch to a directory when the epoch ends, from now on.

        `report` draws a page from them, and `read_recording` reads them. They take at most about 8
        bytes per sample visit (12 for a stream). Each epoch adds some kilobytes more, and the
        latest scores and visits of all samples take 8 bytes per sample. Visits of each sample are
        counted from now on, also across checkpoints. Recording does not slow down a step.

        With several ranks, call it on all of them; the first one writes. Each part of a `Sharded`
        dataset has a folder of its own in the directory: `rank-0` and so on.

        A resumed run continues in the same directory and overwrites the epochs that it repeats.
        Call `load_state_dict` before or after this. If a run that is not resumed finds epochs in
        the directory, its first `update` raises. This includes a run that was killed before its
        first checkpoint and started again: give it `overwrite=True` or another directory. If two
        processes write to one recording, an error says so at the end of an epoch.

        Arguments:
            directory: the directory; it is created if it does not exist.
            optimizer: if given, the learning rate of its first group is recorded at each step,
                unless that is a tensor on a device.
            max_megabytes: the largest size of the recorded losses, above 0. Beyond it, the losses
                of the oldest epochs are removed.
            overwrite: whether a run that is not resumed replaces an existing recording, even one
                with other arguments. A resumed run always continues its own.

        Raises:
            TypeError: an argument has another type.
            ValueError: `max_megabytes` is 0 or below.
            OSError: the directory cannot be created; later, in the loop, a file cannot be written.
            RuntimeError: the directory holds the recording of another run, or other files with the
                names of a recording; later, in the loop, this run is not resumed but the directory
                has epochs of another run, or another process writes there.

        Example:
            >>> import tempfile, torch
            >>> from dynaprune import DataLoader, NoPrune
            >>> from dynaprune.tracking import read_recording
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

    def track_samples(self) -> None:
        """Track each sample from now on, for `suspects` and `to_frame`; 14 bytes per sample.

        Call it before the first epoch, to track the whole run. `record` does so, too. With several
        ranks, call it on all of them.

        It takes no time in a step, and at the end of an epoch about as long as scores by
        `KalmanBLS`: see docs/wrong-labels.md. If epochs have ended before, the logger `dynaprune`
        warns.
        """
        with self.epochs.lock:
            past, score = self.epochs.number, self.epochs.score
            if past > 0 and not all(score.follows(name) for name in EACH_SAMPLE):
                logger.warning(
                    "track_samples() was called in epoch %d, so suspects(), review() and "
                    "to_frame() know no losses and visits of the epochs before: call it before "
                    "the first epoch",
                    past,
                )
            self.epochs.follow(EACH_SAMPLE)

    def log_to(self, *loggers: Logger) -> None:
        """Log the metrics of each epoch when it ends, from now on.

        The metrics are `pruning/visits`, `pruning/share_served` (of the samples, in this epoch),
        `pruning/share_saved` (of all visits so far), `pruning/seconds`, `pruning/mean_loss` (of
        the served samples, before weights), `pruning/mean_score`, `pruning/reliability` (from the
        second epoch on) and `pruning/losses_left_out`. With several ranks, call it on all of them;
        the first one logs, for a `Sharded` dataset its own part. An epoch that was left early is
        logged when the next one begins or `end_epoch` is called.

        Arguments:
            loggers: objects with a method `log(metrics, epoch)`, such as `TensorBoardLogger`,
                `WandbLogger` and `MLflowLogger` of `dynaprune.tracking.loggers`.

        Raises:
            TypeError: a logger has no such method.

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

        `Callback` documents when each method is called. Callbacks are called after recordings, in
        the order in which they were added. `on_epoch_end` gets the result of an epoch as soon as
        the loader has served all of it, also after the last epoch. For an epoch that was left early
        it is called when the next one begins, or by `end_epoch`.

        With several ranks, call this on all of them: `on_step` is called on each, and
        `on_epoch_end` on the first, with the measurements of all. With a `Sharded` dataset each
        rank has its own results. Copies of the pruned dataset have no callbacks, and checkpoints
        do not hold them: add them again before or after `load_state_dict`.

        Arguments:
            callback: an object of a subclass of `Callback`.

        Raises:
            TypeError: it is not a `Callback`.

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
        """Write a page that shows what the recorded epochs have skipped: one file, without network.

        With several ranks, call it on the first one. It needs the extra `report`. A process of its
        own draws the page, so that a library that aborts does not end the training. A sample that
        cannot be read or shown is replaced by the name of the error.

        Arguments:
            path: the path of the page, such as `report.html`.
            labels: the labels of all samples, shape (N,), for a chart by class; by default those
                that a map-style dataset holds in `targets`, `labels`, or the second tensor of a
                `TensorDataset`.
            view: returns the part of a sample that the page shows: a picture (PIL's, or an array),
                a text, or the samples of a sound; by default the page finds one.

        Returns:
            The path.

        Raises:
            ImportError: a package that draws the page is not installed.
            RuntimeError: nothing was recorded yet, or the drawing process failed; then an existing
                page is left as it was.
            ValueError: `labels` has another number of samples.
        """
        from ..tracking.recording.start import recorded_directory
        from ..tracking.report import write_report  # it needs what an extra brings

        directory = recorded_directory(self._whole())
        return write_report(directory, path, dataset=self.dataset, labels=labels, view=view)

    def review(
        self,
        path: str | os.PathLike[str],
        count: int = 100,
        *,
        ids: str | Iterable[Any] | None = None,
        labels: Any = None,
        view: Callable[[Any], Any] | None = None,
        sampling_rate: int | None = None,
    ) -> Path:
        """Write a page on which you judge the labels of the most suspicious samples.

        The page is one file that needs no network. It keeps your verdicts in the browser, and saves
        them as a CSV file for `dynaprune.tracking.read_verdicts`. If a sample cannot be read or
        shown, the page shows the name of the error instead. Call `track_samples` or `record` before
        the first epoch. With several ranks, call this on the first one. It needs the extra
        `report`.

        Arguments:
            path: the path of the page, such as `suspects.html`.
            count: how many samples the page shows, at least 1: the most suspicious ones.
            ids: the names of all samples; the name of a Hugging Face dataset's column that holds
                them, or "auto" for the paths of files. By default the paths, if the dataset knows
                them.
            labels: the labels of all samples, shape (N,); by default those that a map-style dataset
                holds in `targets`, `labels`, or the second tensor of a `TensorDataset`.
            view: returns the part of a sample that the page shows: a picture (PIL's, or an array),
                a text, or the samples of a sound; by default the page finds one.
            sampling_rate: of sounds, in numbers per second, to play them; by default it is read
                from Hugging Face's audio entries. Without it, sounds are only drawn.

        Returns:
            The path.

        Raises:
            ImportError: a package that draws the page is not installed.
            OSError: the page cannot be written.
            RuntimeError: the run does not track its samples, or has no losses yet.
            TypeError: `count` or `sampling_rate` is no integer.
            ValueError: `ids` or `labels` have another number of samples; the dataset is a stream,
                whose samples cannot be looked up; another argument is out of range.
        """
        from ..tracking.review import write_review
        from ..tracking.review.sources import ledger_of

        return write_review(
            ledger_of(self._whole()),
            path,
            self.dataset,
            count=count,
            ids=ids,
            labels=labels,
            view=view,
            sampling_rate=sampling_rate,
        )

    def to_frame(
        self, ids: str | Iterable[Any] | None = None, *, verdicts: Verdicts | None = None
    ) -> Any:
        """Return a pandas DataFrame with one row per sample, for example to look for wrong labels.

        The columns are `score`; `error`, its standard error, if the score estimates it; and
        `next_weight`, the weight of the sample in the coming epoch, 0 if it is skipped. If the run
        tracks its samples (since `track_samples` or `record` was called), there are also
        `mean_excess`, by which `suspects` ranks; `label_quality`, from 0 for labels that are most
        probably wrong to 1, the convention of cleanlab; `visits` and `skipped`, the numbers of past
        epochs that served the sample and that skipped it; and `last_epoch`, the last epoch that
        served it, −1 for none. `frame.to_csv(path)` and `frame.to_parquet(path)` write it to a
        file. It needs the extra `export`.

        Arguments:
            ids: the names of the samples, in their order; "auto" for the paths of their files, as
                in torchvision's `ImageFolder`; or the name of a Hugging Face dataset's column that
                holds them. By default their indices. For a stream, the keys of the wanted samples;
                keys that have never come are left out, and the default is the fingerprints of all
                keys.
            verdicts: what `dynaprune.tracking.read_verdicts` has returned, to add the columns
                `verdict` ("right", "wrong", or empty) and `new_label`.

        Raises:
            ImportError: pandas is not installed.
            ValueError: `ids` has another number of samples, or repeats a name; the dataset does not
                know its names; the verdicts are on samples of another dataset, or of a stream.

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

        return samples_frame(self._whole(), ids, verdicts)

    def _whole(self) -> PrunedDataset:
        return cast("PrunedDataset", self)
