"""The object a user holds: a dataset that decides which of its samples an epoch trains on."""

from __future__ import annotations

import copy
import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .data.indexed import IndexedDataset, Wrapping, as_indices, check_range, fetch, usual_indices
from .data.keys import Key, KeyTable, fingerprint
from .data.sharded import Sharded
from .data.stream import PrunedIterableDataset
from .losses.measurements import Indices
from .losses.reweighting import check_loss, check_scaled, scale, scale_slices
from .planning.plan import Plan, make_plan
from .planning.sampler import PruningSampler
from .planning.selection import Selection, check_selection
from .planning.share import Share, share_of, whole
from .planning.weights import SampleWeights
from .scores import SampleLoss, Score
from .training.callbacks import Callback
from .training.epochs import Epochs
from .training.passes import Batch, LoaderPass
from .training.progress import SavedProgress
from .training.state import check_origin, differences, pack, sealed, settings_of, unpack, warn_of
from .training.summary import Summary
from .utils.rng import epoch_generator
from .utils.sampling import all_indices
from .utils.validation import check_integer, check_map_style

if TYPE_CHECKING:
    from .loading.index_batches import IndexBatches
    from .tracking.loggers import Logger

logger = logging.getLogger("dynaprune")

STATE_VERSION = 8  # a checksum, arguments, the last mean loss, how often samples are repeated


class PrunedDataset(Wrapping, Dataset[Any]):
    """A training set of which every epoch serves the samples that a pruning method selects.

    Methods (`InfoBatch`, `SeTa`, …) are subclasses with one function, `select`. The life of an
    epoch: the sampler asks for a plan; the loader serves it; `update` takes down a loss a batch;
    and when the next plan is needed, the losses are folded into the scores.

    An epoch that has seen no `update` is served again, so looking at a batch changes nothing; one
    that was left early after some updates is over. A loader that begins while an epoch is in
    progress gets the plan of the next one, as things stand; with its first update that epoch
    has begun, and without any nothing has happened.

    Arguments:
        dataset: a map-style dataset, with `__getitem__` and `__len__`; a rank's part of one, a
            `Sharded`; or a stream that has keys, a `PrunedIterableDataset`.
        num_epochs: the number of epochs E that the run will train.
        seed: fixes every random choice, together with the epoch's number; at least 0.

    Attributes:
        epochs: the life of the epochs, for loaders and integrations.

    Raises:
        TypeError: `dataset` is neither; `num_epochs` or `seed` is no integer.
        ValueError: `dataset` is empty; `num_epochs` is below 1 or `seed` below 0.
    """

    default_score: ClassVar[type[Score]] = SampleLoss
    """The score that the method was published with."""

    skips_highest: ClassVar[bool] = False
    """Whether the method means to skip the samples with the highest scores, not the lowest."""

    extra_inputs: tuple[str, ...] = ()
    """What `select` takes beside the scores, as further arguments of these names:

    - `errors`: float32, shape (N,): the standard errors of the scores; `None` if the score does not
      know them;
    - `visits`: int32, shape (N,): how often each sample was measured;
    - `last_steps`: int32, shape (N,): the step of the run in which each was measured last, −1 for
      never;
    - `shape`: how the losses of single samples are distributed, a `LossShape`, as the epochs tell
      that have served everything; `None` before their losses have settled.
    """

    def __init__(self, dataset: Any, num_epochs: int, *, seed: int = 0) -> None:
        self.is_stream = isinstance(dataset, PrunedIterableDataset)
        self._num_samples = 0 if self.is_stream else check_map_style(dataset)
        self.dataset = dataset
        self.num_epochs = check_integer("num_epochs", num_epochs, minimum=1)
        self.seed = check_integer("seed", seed, minimum=0)
        identity: dict[str, Any] = {"method": type(self).__name__, "seed": self.seed}
        if self.is_stream:
            identity["dataset"] = type(dataset.stream).__name__
        else:
            identity |= {"dataset": type(dataset).__name__, "num_samples": self._num_samples}
        self.epochs = Epochs(self._num_samples, identity, self.num_epochs)
        if self.is_stream:
            self.epochs.expected_samples = dataset.num_samples or 0
        self._part: dict[str, Any] = {}
        if isinstance(dataset, Sharded):
            self.epochs.ranks.are_apart = True
            identity["dataset"] = f"Sharded {type(dataset.dataset).__name__}"
            self._part = {"rank": dataset.rank, "world_size": dataset.world_size}
        self.default_score(self).proxy()

    # What a method defines

    @abstractmethod
    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Choose the samples of an epoch: a pure function of its arguments.

        Arguments:
            scores: float32, shape (N,); the higher, the more worth training on. Not to be written.
            epoch: the epoch's number, from 0.
            generator: the source of all randomness.

        What `extra_inputs` names follows by name.
        """

    # The dataset, as it was

    def __len__(self) -> int:
        if not self.is_stream:
            return self._num_samples
        epochs = self.epochs  # of a stream, the samples that are known
        with epochs.lock:
            known = epochs.folded().score.num_samples if epochs.is_done() else epochs.num_samples
        if known == 0:
            raise TypeError(
                "a stream has no length before its first pass; let the DataLoader of dynaprune "
                "serve it, and not the one of torch"
            )
        return known

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: Any) -> Any:
        self._require_indices("a sample was asked for", "use the DataLoader of dynaprune")
        return self.dataset[index]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Fetch many samples at once, in the way that the dataset itself is fetched."""
        self._require_indices("samples were asked for", "use the DataLoader of dynaprune")
        return fetch(self.dataset, indices)

    def __repr__(self) -> str:
        known = "known samples" if self.is_stream else "samples"
        samples = f"{self.epochs.num_samples:,} {known}"
        return (
            f"{type(self).__name__}({samples} of {type(self.dataset).__name__}, "
            f"num_epochs={self.num_epochs}, seed={self.seed}, epoch {self.epoch}, "
            f"scored by {type(self.epochs.score).__name__})"
        )

    def __getattr__(self, name: str) -> Any:
        message = f"{type(self).__name__} has no attribute {name!r}"
        # not forwarded: what is read from the dataset would also be written, and that to nowhere
        if not name.startswith("_") and hasattr(self.__dict__.get("dataset"), name):
            message += f", but its dataset has: use .dataset.{name}"
        raise AttributeError(message)

    # What a training loop uses

    @property
    def sampler(self) -> PruningSampler:
        """The sampler for the training loader: it serves each epoch's plan.

        Raises:
            RuntimeError: the dataset is a stream, which no sampler serves.
        """
        self._require_indices("train.sampler was asked for", "leave sampler out")
        return PruningSampler(self)

    def batches(
        self, batch_size: int, *, device: Any = None, drop_last: bool = False
    ) -> IndexBatches:
        """Return the batches of an epoch as index tensors, for data in memory or on the device.

        Run over it in each epoch, in place of a loader: `for indices in train.batches(1024)` yields
        int64 tensors of shape (B,) on `device`, and `update` knows which samples they are. The
        order of an epoch moves to the device at once, and a step moves nothing. `len()`, looks,
        `break`, checkpoints and several ranks are as with the `DataLoader`.

        Arguments:
            batch_size: samples a batch, on this rank.
            device: where the indices are to be, as the data is; by default on the host.
            drop_last: whether a last batch of fewer samples is left out.

        Raises:
            TypeError: `batch_size` is no integer, or `device` no device of torch.
            ValueError: `batch_size` is below 1.
            RuntimeError: the dataset is a stream, which has no indices.

        Example:
            >>> import torch
            >>> from dynaprune import BLS, InfoBatch
            >>> x, y = torch.rand(1000, 3), torch.rand(1000)
            >>> train = BLS(InfoBatch(range(1000), num_epochs=3)).proxy()
            >>> for epoch in range(3):
            ...     for indices in train.batches(64):
            ...         loss = train.update((x[indices].mean(1) - y[indices]).square().mean())
            >>> train.summary().epochs
            3
        """
        from .loading.index_batches import IndexBatches  # it runs over a pruned dataset

        self._require_indices("train.batches() was called", "use the DataLoader of dynaprune")
        return IndexBatches(self, batch_size, device, drop_last)

    def with_indices(self) -> IndexedDataset:
        """Return the dataset with samples `(sample, index)`, for loaders that are not ours.

        Give it to any loader together with `sampler`, and hand the indices of each batch back
        with `update(loss, indices=indices)`. Of such a loader nobody knows which batch comes from
        which `iter()`: do not begin a second run over it in the middle of an epoch.

        Raises:
            RuntimeError: the dataset is a stream: only our loader knows the keys of a batch.
        """
        self._require_indices("with_indices() was called", "use the DataLoader of dynaprune")
        return IndexedDataset(self.dataset)

    def update(
        self,
        loss: Tensor,
        indices: Any = None,
        *,
        batch: Any = None,
        mean_loss: Tensor | None = None,
    ) -> Tensor:
        """Score the samples of the current batch by its loss, and return it ready for `backward`.

        A mean loss is multiplied by the mean weight of the batch's samples. A loss vector is
        multiplied by its samples' weights, then averaged; so are the mean losses of slices, each
        of which counts as many times as it has samples. The loss is not read: there is no wait for
        a device, no transfer, and the given tensor is left as it is.

        Call it once a batch, with the loss of that batch alone: after several losses were summed
        up, before the sum is divided for gradient accumulation and before `scaler.scale`. What is
        returned is weighted: log `loss` as it was before, or `mean_loss` after the epoch.

        The batch is the last one that the loader has yielded. Where the loop fetches ahead, say
        which one it is, by `batch` or `indices`; without, an error says that it cannot be told.

        Arguments:
            loss: the mean loss of the batch, of shape () or (1,); a loss vector of shape (B,); or
                the mean losses of C slices of it, of shape (C,), as `chunked` returns them: all of
                ⌈B/C⌉ samples, but the last, which may have fewer.
            indices: the batch's samples, integers of shape (B,), if a loader other than ours has
                served them (see `with_indices`). They may lie on any device.
            batch: what our loader has yielded, or a tensor of it, not a copy.
            mean_loss: what else `loss` could be, where it is a single number that is no mean:
                normalised by the tokens of several accumulated batches, say. Then this is scored,
                and `loss` only rescaled.

        Returns:
            The loss to call `backward` on: shape (), in the type of `loss`.

        Raises:
            RuntimeError: no batch waits for an update, or it cannot be told which one this is
                about; the loss is no tensor or of another shape; `indices` are of another shape, or
                no samples of this dataset; the batch belongs to an epoch that is over.
        """
        epochs = self.epochs
        with epochs.lock:
            current: LoaderPass | None = None
            if indices is not None:
                self._require_indices("update(loss, indices=...) was called", "leave indices out")
                current, found = self._find(self._check_indices(indices))
            elif batch is not None:
                current, found = epochs.passes.holding(batch)
            else:
                current, found = epochs.passes.to_update()
            measured, size = loss if mean_loss is None else mean_loss, len(found.indices)
            check_loss(measured, size, epochs.now.score, found.rows)
            if mean_loss is not None:
                check_scaled(loss)
            plan = epochs.plan_of(found.indices) if current is None else current.plan
            if loss.numel() > 1:
                source = plan if current is None else current
                scaled = scale_slices(loss, _sample_weights(source, found), size)
            elif current is None:
                scaled = scale(loss, plan.mean_weight(found.indices))
            else:
                scaled = scale(loss, found.mean_weight)
            if current is not None and not (indices is None and batch is None):
                current.be_told(found, by_indices=indices is not None)
            epochs.report(plan, found, measured, current)
            if current is not None and current.is_whole and not current.waiting:
                self.finish(current)
            return scaled

    def skip_batch(self) -> None:
        """Say that the loop goes on to the next batch without an update of this one.

        A plain loop need not say so: a batch that it skips by `continue` is gone when the next one
        is updated. Where a progress bar or a prefetcher lies between the loop and the loader, that
        looks the same as fetching ahead; then `update` raises an error that asks for this call.

        Raises:
            RuntimeError: no batch waits for its update.
        """
        with self.epochs.lock:
            skipped = self.epochs.passes.skip()
            if skipped.is_whole:  # the loop has fetched ahead
                self.finish(skipped)

    @property
    def batch_weight(self) -> float:
        """The mean weight of the current batch, which `update` multiplies a mean loss by.

        It is that of the batch until the next one is asked for, also after its update. For loops in
        which `update` comes too late, such as replays of a CUDA graph that holds the backward pass,
        and for those that evaluate the loss of a batch several times, as LBFGS does: they update
        with the first evaluation, and multiply the others by this.

        Raises:
            RuntimeError: there is no current batch.
        """
        with self.epochs.lock:
            return float(self.epochs.passes.current_weight("batch_weight was read"))

    @property
    def scores(self) -> Tensor:
        """The scores with all that was reported so far: float32, shape (N,), a copy.

        Reading them in the middle of an epoch does not change what the run does. With several
        ranks they are those at the epoch's start until it has ended: one rank alone may read them.
        """
        with self.epochs.lock:
            return self.epochs.latest_score().values().clone()

    @property
    def reliability(self) -> float:
        """How far the scores can be trusted: about their rank correlation with the samples' losses.

        0 says that they are as good as drawn at random, 1 that they order the samples as their
        losses do. It is estimated without an extra pass: the mean score of each batch is compared
        with the loss that the batch then has. NaN before the second epoch. `audit` measures it.
        """
        with self.epochs.lock:
            return self.epochs.latest_score().reliability

    @property
    def mean_loss(self) -> float:
        """The mean loss of the last epoch, before weights: over its sample visits, finite ones.

        It is what to log of an epoch, and comparable between epochs, methods and full training,
        which what `update` returns is not. In an epoch it is that of the one before, so reading it
        does not wait for a device; after the loop, that of the epoch that the loop has trained.
        With several ranks it is that of all. NaN before the first epoch has ended.
        """
        with self.epochs.lock:
            return self.epochs.mean_loss()

    def numbers_of(self, keys: Iterable[Key]) -> Tensor:
        """Return where in `scores` and `weights` the samples of a stream are: int64, shape (M,).

        Numbers change in an epoch in which keys come that are new.

        Arguments:
            keys: what `key` of the stream returns; −1 is returned for those that are not known.

        Raises:
            RuntimeError: the dataset is no stream.
        """
        with self.epochs.lock:
            known = self.epochs.latest_score().keys
        if known is None:
            raise RuntimeError(
                f"numbers_of() is for streams, but this {type(self).__name__} prunes a "
                f"{type(self.dataset).__name__}, whose samples are numbered by their index"
            )
        wanted = np.array([fingerprint(key) for key in keys], dtype=np.int64)
        return torch.from_numpy(known.numbers_of(wanted))

    @property
    def weights(self) -> Tensor:
        """The weights in the epoch that is being served or about to be: float32, shape (N,)."""
        with self.epochs.lock:
            weights = self.epochs.coming_plan(self._make_plan).weights
        if weights is None:
            return torch.ones(len(self), dtype=torch.float32, device="cpu")
        return torch.from_numpy(weights.every().copy())

    def next_selection(self, epoch: int | None = None) -> Selection:
        """Return what the method would select by the scores as they are known; nothing changes.

        Arguments:
            epoch: for which epoch, from 0; by default for the one after that in progress, or for
                the coming one if none is.

        Raises:
            ValueError: `epoch` is below 0.
            RuntimeError: the dataset's length has changed, or the method's selection is none.
        """
        with self.epochs.lock:
            if epoch is None:
                epoch = self.epochs.number + (1 if self.epochs.findings.visits > 0 else 0)
            return self._select(
                self.epochs.latest_score(), check_integer("epoch", epoch, minimum=0)
            )

    @property
    def epoch(self) -> int:
        """The number of the epoch that is being served or about to be, from 0."""
        with self.epochs.lock:
            return self.epochs.number + (1 if self.epochs.is_over() else 0)

    @property
    def progress(self) -> float:
        """The run's position in epochs: 2.5 is in the middle of the third.

        It counts what was served, trained on or skipped, however often a batch sampler repeats a
        sample.
        """
        with self.epochs.lock:
            number, done, total = self.epochs.position()
        return number + done / total

    @property
    def process_group(self) -> Any:
        """The process group of `torch.distributed` whose ranks share each epoch; `None` is all.

        Set it where some ranks train on the same samples, as those of a tensor-parallel group do.
        """
        return self.epochs.ranks.group

    @process_group.setter
    def process_group(self, group: Any) -> None:
        self.epochs.ranks.group = group

    def summary(self) -> Summary:
        """Return what the run has cost and saved so far."""
        with self.epochs.lock:
            return self.epochs.summary()

    def end_epoch(self) -> None:
        """Say that the epoch is over. Nothing happens if it has seen no `update`.

        Our `DataLoader` says so by itself, and an update from the next `iter()` over any loader
        implies it. Call it where another loader serves the batches and `len(loader)` or
        `state_dict()` is wanted between two epochs. With several ranks, call it on all of them.
        """
        epochs = self.epochs
        with epochs.lock:
            visits = epochs.findings.visits
            if epochs.ranks.in_step > 1:  # others may have made updates where this rank has none
                epochs.coming_plan(self._make_plan)
                if epochs.ranks.are_apart:
                    _, visits = epochs.ranks.range_of(visits)
                else:
                    visits = epochs.gathered().visits
            if visits > 0:
                epochs.advance()
                self._agree_on_length()

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
        from .tracking.recording.start import start_recording

        start_recording(self, directory, optimizer, max_megabytes, overwrite=overwrite)

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
        from .tracking.loggers.callback import LoggerCallback

        callbacks = [LoggerCallback(each) for each in loggers]
        if self._part.get("rank", 0) == 0:
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
            self.epochs.callbacks.add(callback, self)

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
        from .tracking.recording.start import recorded_directory
        from .tracking.report import write_report  # it needs what an extra brings

        directory = recorded_directory(self)
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
        from .tracking.dataframe import samples_frame

        return samples_frame(self, ids)

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the state, in the middle of an epoch or between two: tensors and plain values.

        Save it with `save_checkpoint`, or `torch.save`; `torch.load(..., weights_only=True)` reads
        it. The batch at hand is still due until `update` was called for it: save after the
        optimizer's step, and before a `break`, because an epoch that was left is over.

        A checksum of all that it holds is part of it, so load it as it was returned.

        With several ranks, call it on all of them in the middle of an epoch: it is a collective,
        and returns the same on each, so one may save it. Once the loader has ended an epoch, any
        rank may call it alone. Of a `Sharded` dataset each rank has a state of its own.
        """
        epochs = self.epochs
        with epochs.lock:
            state = {"version": STATE_VERSION, **epochs.identity, **self._part}
            state["settings"] = settings_of(self, epochs.score)
            if epochs.samples_due() > 0:
                progress = epochs.measured()
                before = epochs.number, epochs.score, epochs.totals, epochs.now.mean_loss
                return sealed(state | pack(*before, progress, epochs.plan))
            fold, number = epochs.folded(), epochs.number
            if fold.visits > 0:
                number += 1
                try:
                    epochs.conclude()  # this state counts the epoch as over
                except Exception:
                    logger.exception("epoch %d is not recorded or logged yet", epochs.number)
            after = number, fold.score, epochs.summary(), epochs.mean_loss()
            return sealed(state | pack(*after, SavedProgress(), None))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken: with the samples that were still due in that epoch.

        With several ranks, load the same state on all; there may be more or fewer of them now. Of a
        `Sharded` dataset each rank loads its own, all at the same time.

        Other arguments than those of the run that saved it, such as another `num_epochs`, may be
        meant: they are warned of, by the logger `dynaprune`, and the run goes on with them.

        Raises:
            RuntimeError: the state is incomplete, damaged or of another version's format; it
                belongs to another dataset, length, method, score or seed, or to an epoch that other
                arguments planned. The object is left as it was.
        """
        expected = {"version": STATE_VERSION, **self.epochs.identity, **self._part}
        check_origin(state, expected)
        differing = differences(state["settings"], settings_of(self, self.epochs.score))
        score = copy.deepcopy(self.epochs.score)
        number, totals, mean_loss, progress, order = unpack(state, score)
        plan = None
        if len(progress.batches) > 0:
            try:
                plan = self._make_plan(score, number)
            except Exception as error:
                raise RuntimeError(
                    f"this {type(self).__name__} cannot plan epoch {number}, in the middle of "
                    f"which the state was taken, from the state's scores: {error}"
                ) from error
            if plan.digest() != order:
                raise RuntimeError(
                    f"the state was taken in the middle of epoch {number}, which the arguments of "
                    f"this {type(self).__name__} would plan otherwise: make it with those of the "
                    "run that saved it, or go on from a state between epochs"
                )
            if not self.is_stream:  # of which the pass is told what was served
                plan = plan.without(progress.served())
        with self.epochs.lock:
            self.epochs.restore(number, score, totals, mean_loss, progress, plan)
            warn_of(differing)
            self._agree_on_length()

    # What scores, samplers and loaders use

    def adopt_score(self, score: Score) -> None:
        """Score the samples by `score` from the first epoch on; `Score.proxy` calls this.

        Raises:
            RuntimeError: there were updates already, or the score has another length.
        """
        if hasattr(self.epochs, "now") and self.epochs.summary().epochs > 0:
            raise RuntimeError(
                f"this {type(self).__name__} has been trained on: choose its score before the "
                "first epoch"
            )
        if self.is_stream:
            score.keys = KeyTable()
        if score.num_samples != self._num_samples:
            raise RuntimeError(
                f"the score is of {score.num_samples:,} samples, but the dataset has {len(self):,}"
            )
        score.track(self.extra_inputs)
        self.epochs.adopt(score)

    def begin_epoch(
        self,
        world_size: int | None = None,
        rank: int | None = None,
        drop_last: bool = False,
        start: int | None = None,
    ) -> Share:
        """Return what to serve now; the sampler calls this at each `iter()`.

        Arguments:
            world_size: the number of shares; by default that of `torch.distributed`.
            rank: which one, by default this process's.
            drop_last: whether to leave samples out, and not to repeat any, for shares of one size.
            start: how many samples of the share were served before, where the loader has kept
                count; by default those that were not trained on are served.

        Raises:
            RuntimeError: the dataset's length has changed, or the method's selection is none.
        """
        with self.epochs.lock:
            plan = self.epochs.begin(self._make_plan)
            if self.epochs.ranks.are_apart:
                self._check_part(world_size)
            return self.epochs.hand_out(self._share(plan, world_size, rank, drop_last, start))

    def check_batch_size(self, batch_size: int | None, world_size: int | None = None) -> None:
        """Make sure that the method can work with a loader's batches; our loader asks at `iter()`.

        Arguments:
            batch_size: samples of a batch, on one rank; `None` if that is not known.
            world_size: the number of shares; by default that of `torch.distributed`.

        Raises:
            RuntimeError: it cannot.
        """

    def epoch_length(
        self, world_size: int | None = None, rank: int | None = None, drop_last: bool = False
    ) -> int:
        """Return the number of samples in a share of the epoch being served or about to be.

        Arguments:
            world_size: the number of shares; by default that of `torch.distributed`.
            rank: which one, by default this process's.
            drop_last: as in `begin_epoch`.
        """
        with self.epochs.lock:
            plan = self.epochs.coming_plan(self._make_plan)
            if self.is_stream:
                if self.epochs.expected_visits() == 0:
                    return self._expected_share(0, world_size)
                return self._expected_share(max(1, self.epochs.expected_left()), world_size)
            return len(self._share(plan, world_size, rank, drop_last))

    def _expected_share(self, samples: int, world_size: int | None) -> int:
        """Return how many samples of a stream's next pass a rank is served, as far as is known."""
        if samples == 0:
            raise TypeError(
                "how many samples the stream has is not known before its first pass: say "
                "PrunedIterableDataset(..., num_samples=...)"
            )
        return -(-samples // (self.epochs.ranks.size if world_size is None else world_size))

    def finish(self, current: LoaderPass) -> None:
        """End the epoch that `current` has trained to its end, where all ranks arrive.

        A loop that fetches ahead has its last batches still to update, and ends it with them.

        Arguments:
            current: a run of our loader.
        """
        with self.epochs.lock:
            if self.epochs.finish(current):
                self._agree_on_length()

    def _agree_on_length(self) -> None:
        """Where each rank has samples of its own, agree on how many all serve in the next epoch."""
        ranks = self.epochs.ranks
        if ranks.are_apart and ranks.in_step > 1:
            self.epochs.lengths.agree(self.epochs.coming_plan(self._make_plan))

    def full_length(self, world_size: int | None = None, drop_last: bool = False) -> int:
        """Return the number of samples in a share of an epoch that skips nothing.

        Arguments:
            world_size: the number of shares; by default that of `torch.distributed`.
            drop_last: as in `begin_epoch`.
        """
        if self.is_stream:
            return self._expected_share(
                max(self.epochs.num_samples, self.epochs.expected_samples), world_size
            )
        if self.epochs.ranks.are_apart:
            return len(self)
        size = self.epochs.ranks.size if world_size is None else world_size
        return len(self) // size if drop_last else -(-len(self) // size)

    def _share(
        self,
        plan: Plan,
        world_size: int | None,
        rank: int | None,
        drop_last: bool,
        start: int | None = None,
    ) -> Share:
        ranks = self.epochs.ranks
        if self.is_stream:
            return Share(plan, plan.order, 1)
        if ranks.are_apart:
            least, most = self.epochs.lengths.of(plan)
            before = self.epochs.findings.resumed.visits if plan is self.epochs.plan else 0
            each = least if drop_last else most
            if start is None:
                return whole(plan, each, before)
            share = whole(replace(plan, due=plan.order), each + before)  # the loader has counted
            return Share(plan, share.order[start:], 1, start)
        return share_of(
            plan,
            ranks.own if rank is None else rank,
            ranks.size if world_size is None else world_size,
            drop_last=drop_last,
            start=start,
        )

    # Checks of what a loop hands in

    def _length_as_said(self) -> int:
        """Return how many samples the dataset has; of a stream that does not say, many."""
        if self.is_stream:
            return self.epochs.expected_samples or 10**9
        return self._num_samples

    def _check_part(self, world_size: int | None) -> None:
        """Make sure that there are as many ranks as parts.

        Raises:
            RuntimeError: there are not.
        """
        parts, ranks = self.dataset.world_size, self.epochs.ranks.in_step
        if world_size is not None or ranks not in (1, parts):
            raise RuntimeError(
                f"the dataset is divided into {parts} parts, one for each rank, but "
                + (f"{ranks} ranks train" if world_size is None else "the sampler divides it again")
                + ": give all ranks Sharded(dataset), and the sampler no world_size"
            )

    def _require_indices(self, done: str, instead: str) -> None:
        """Raise `RuntimeError` if the dataset is a stream: `done` says what the user did."""
        if self.is_stream:
            raise RuntimeError(
                f"{done}, but this {type(self).__name__} prunes a stream, whose samples have keys "
                f"and no indices: {instead}"
            )

    def _find(self, indices: Indices) -> tuple[LoaderPass | None, Batch]:
        """Return the batch that has these samples, and its pass if our loader has served it."""
        found = self.epochs.passes.of(indices)
        return found or (None, Batch(indices, 1.0, None, (), 0))

    def _check_indices(self, indices: Any) -> Indices:
        """Return the samples of a batch as an array on the host, or as a tensor on its device.

        A copy: the loop's tensor may be written to, and a worker's holds a file open.
        """
        usual = usual_indices(indices, len(self))
        if usual is not None:
            return usual
        batch = as_indices(indices, "update(loss, indices=...)")
        if batch.device.type != "cpu":
            return batch  # its range is checked when it is folded: now, the device would wait
        check_range(batch, len(self))
        return np.asarray(batch)

    def _make_plan(self, score: Score, epoch: int) -> Plan:
        """Let the method select from these scores, and make it a plan."""
        selection = self._select(score, epoch)
        return make_plan(selection, score.num_samples, epoch, self.seed, score.keys)

    def _select(self, score: Score, epoch: int) -> Selection:
        """Let the method select from these scores, and check what it has selected."""
        if not self.is_stream and len(self.dataset) != len(self):
            raise RuntimeError(
                f"the dataset has {len(self.dataset):,} samples now, but had {len(self):,} "
                f"when this {type(self).__name__} was made: scores belong to samples by their "
                "index, so wrap the changed dataset anew"
            )
        score.track(self.extra_inputs)  # it may have changed since the score was adopted
        total = score.num_samples
        if total == 0:  # of a stream nothing is known yet: what is new is served
            return Selection(all_indices(0))
        generator = epoch_generator(self.seed, epoch)
        selection = self.select(score.values(), epoch, generator, **score.extras(self.extra_inputs))
        check_selection(selection, total, type(self).__name__)
        return selection


def _sample_weights(source: Plan | LoaderPass, batch: Batch) -> SampleWeights:
    if isinstance(source, LoaderPass):
        return source.sample_weights(batch)
    return source.sample_weights(batch.indices)
