"""timm.

    from dynaprune.integrations.timm import create_loader

    train = BLS(InfoBatch(dataset_train, num_epochs=300)).proxy()
    loader = create_loader(train, input_size=(3, 224, 224), batch_size=128, is_training=True)

Needs `pip install 'dynaprune[timm]'`; without it, the import raises an `ImportError`.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterator
from typing import Any

from ..loading import lr_scheduler
from ..loading.indexed_fetcher import IndexedFetcher
from ..loading.loader import DataLoader
from ..loading.tracked_batch import TrackedBatch
from ..pruned_dataset import PrunedDataset
from ..utils.optional_imports import require
from ._settings import settings_of
from ._versions import require as require_name

TESTED = "1.0"
"""The versions of timm that the tests run with."""

_loaders = require("timm.data.loader", "timm")
_create_loader = require_name(_loaders, "create_loader", "timm", TESTED)
_PrefetchLoader = require_name(_loaders, "PrefetchLoader", "timm", TESTED)

REFUSED = {
    "num_aug_repeats": "an epoch would serve only a part of the samples that the method keeps",
    "input_size_choices": "its schedule of batches is made once, for epochs of one length",
}
"""Arguments that work only without pruning, and why."""


def create_loader(dataset: Any, *arguments: Any, **options: Any) -> Any:
    """Create a loader as `timm.data.create_loader` does, also for a pruned dataset.

    A loader of a pruned dataset yields what timm's loader yields, with the same transforms,
    collate function, workers and prefetcher, and `train.update(loss)` scores the batch that the
    loop trains, although timm's prefetcher has fetched the next one by then. It is a
    `dynaprune.DataLoader`: `len(loader)` is the length of the current epoch. For any other
    dataset, such as the one to validate on, timm's own loader is returned.

    Wrap a dataset in `AugMixDataset` first, and then in the method: a batch of several splits is
    scored by its one loss. With several ranks each serves its share of the epoch, whatever
    `distributed` is. `use_multi_epochs_loader` keeps workers between epochs, as
    `persistent_workers` does, but fetches no batch of the next epoch early. If `mixup_enabled` is
    set to another value, the next epoch starts new workers, so that it has an effect.

    Arguments:
        dataset: a pruned map-style dataset, or any dataset of timm.
        arguments: further arguments of `timm.data.create_loader`.
        options: the same, by name.

    Raises:
        TypeError: the pruned dataset is a stream, or was wrapped in another dataset; or timm's
            function has no such argument.
        ValueError: for a pruned dataset, `is_training=False`, `num_aug_repeats` or
            `input_size_choices` was given.

    Example:
        loader_train = create_loader(train, input_size=224, batch_size=128, is_training=True)
        for images, labels in loader_train:
            loss = train.update(criterion(model(images), labels))
    """
    if not isinstance(dataset, PrunedDataset):
        _check_is_outermost(dataset)
        return _create_loader(dataset, *arguments, **options)
    _check_is_indexed(dataset)
    given = inspect.signature(_create_loader).bind(dataset.dataset, *arguments, **options).arguments
    _check_options(given)
    keeps_workers = given.pop("use_multi_epochs_loader", False)
    made = _create_loader(**{**given, "distributed": False})
    prefetcher = made if isinstance(made, _PrefetchLoader) else None
    return _Loader(dataset, made if prefetcher is None else made.loader, prefetcher, keeps_workers)


def _check_is_outermost(dataset: Any) -> None:
    wrapped = dataset
    while (wrapped := getattr(wrapped, "dataset", None)) is not None:
        if isinstance(wrapped, PrunedDataset):
            raise TypeError(
                f"the pruned dataset was wrapped in a {type(dataset).__name__}, whose samples the "
                "loader would serve without pruning: wrap the dataset first, and give the result "
                f"to the method, as in InfoBatch({type(dataset).__name__}(dataset_train), ...)"
            )


def _check_is_indexed(train: PrunedDataset) -> None:
    if train.is_stream:
        raise TypeError(
            f"create_loader was given a {type(train).__name__} of a stream, but it needs a "
            "map-style dataset, such as timm.data.ImageDataset: train on the stream by "
            "dynaprune.DataLoader"
        )


def _check_options(given: dict[str, Any]) -> None:
    if not given.get("is_training", False):
        raise ValueError(
            "create_loader was given a pruned dataset with is_training=False: give "
            "is_training=True, or to evaluate on all samples, the dataset that is not pruned"
        )
    for name, reason in REFUSED.items():
        if given.get(name):
            raise ValueError(
                f"create_loader was given a pruned dataset with {name}={given[name]!r}, but "
                f"{reason}: leave {name} out"
            )


class _Loader(DataLoader):
    """A loader of a pruned dataset that yields what timm's loader would yield.

    Arguments:
        train: the pruned dataset.
        loader: timm's loader of the dataset that is not pruned; only its settings are used.
        prefetcher: timm's prefetcher, if it has one.
        keeps_workers: whether workers live on between epochs, even if the loader's settings do not
            say so.
    """

    def __init__(
        self, train: PrunedDataset, loader: Any, prefetcher: Any, keeps_workers: bool
    ) -> None:
        self._prefetcher = prefetcher
        settings = settings_of(loader)
        if keeps_workers and loader.num_workers > 0:
            settings["persistent_workers"] = True
        super().__init__(
            train, batch_size=loader.batch_size, drop_last=loader.drop_last, **settings
        )

    def _make_fetcher(self, train: PrunedDataset) -> IndexedFetcher:
        return _Fetcher(
            self._prefetcher,
            train.dataset,
            self.collate_fn,
            self.batch_sampler,
            self.sampler,
            **self._arguments,
        )

    @property
    def mixup_enabled(self) -> bool:
        """Whether the collate function mixes the images of a batch; timm's loops read and set it.

        Workers have a copy of the collate function, so new ones are started when it changes.
        """
        return bool(getattr(self.collate_fn, "mixup_enabled", False))

    @mixup_enabled.setter
    def mixup_enabled(self, enabled: bool) -> None:
        if self.mixup_enabled != enabled and hasattr(self.collate_fn, "mixup_enabled"):
            self.collate_fn.mixup_enabled = enabled
            assert self._fetcher is not None
            self._fetcher.inner._iterator = None


class _Fetcher(IndexedFetcher):
    """Fetches batches with their indices through timm's prefetcher.

    Arguments:
        prefetcher: timm's prefetcher; `None` for none.
        arguments: the arguments of `IndexedFetcher`.
        options: further arguments of the loader.
    """

    def __init__(self, prefetcher: Any, *arguments: Any, **options: Any) -> None:
        self._prefetcher = prefetcher
        super().__init__(*arguments, **options)

    def begin(self, train: PrunedDataset) -> Iterator[Any]:
        """Return an iterator over the fetched batches of the next pass.

        Arguments:
            train: the pruned dataset.
        """
        fetched = super().begin(train)
        return fetched if self._prefetcher is None else _prefetched(self._prefetcher, fetched)


def _prefetched(prefetcher: Any, fetched: Iterator[Any]) -> Iterator[TrackedBatch]:
    """Yield batches that a prefetcher has moved to the device and normalized.

    Arguments:
        prefetcher: yields the batches of its attribute `loader`, one later than it fetches them.
        fetched: the batches with their indices.
    """
    indices: deque[Any] = deque()

    def batches(fetched: Iterator[Any]) -> Iterator[Any]:
        for each in fetched:
            indices.append(each.indices)
            yield each.batch

    prefetcher.loader = batches(fetched)
    del fetched
    for batch in prefetcher:
        prefetcher.loader = None  # so that a loop that is left early frees its workers
        yield TrackedBatch(indices.popleft(), batch)


class PrunedScheduler(lr_scheduler.PrunedScheduler):
    """Makes a schedule of timm that counts updates reach its end when the run does.

    `step_update` sets the schedule to where full training would be after the same share of the
    run, whatever number of updates it is given: pruned epochs have fewer. `step`, for schedules
    that count epochs, is timm's. All other attributes of the scheduler are available here, too.

    Arguments:
        scheduler: a scheduler of timm, as `create_scheduler_v2` returns it.
        loader: the training loader, or the pruned dataset itself.
        updates_per_epoch: the updates in an epoch of full training, as they were given to
            `create_scheduler_v2`: `loader.batches_per_full_epoch`, with accumulation divided by its
            steps and rounded up.

    Raises:
        TypeError: `scheduler` has no `step_update`; no pruned dataset is in `loader`;
            `updates_per_epoch` is no integer.
        ValueError: `updates_per_epoch` is below 1.

    Example:
        updates = loader_train.batches_per_full_epoch
        scheduler, num_epochs = create_scheduler_v2(
            optimizer, num_epochs=300, step_on_epochs=False, updates_per_epoch=updates
        )
        scheduler = PrunedScheduler(scheduler, loader_train, updates)
    """

    def __init__(self, scheduler: Any, loader: Any, updates_per_epoch: int) -> None:
        if not callable(getattr(scheduler, "step_update", None)):
            raise TypeError(
                "scheduler must be a scheduler of timm, with step_update(), but a "
                f"{type(scheduler).__name__} was given: dynaprune.PrunedScheduler is for those of "
                "torch"
            )
        super().__init__(scheduler, loader, updates_per_epoch)

    def step_update(self, num_updates: int, metric: float | None = None) -> None:
        """Set the schedule to the share of the run that has been trained.

        Arguments:
            num_updates: the loop's own count, which is not used.
            metric: passed on to the scheduler.
        """
        self.steps = self.steps_after_next()
        self.scheduler.step_update(self.steps, metric)

    def step(self, epoch: int, metric: float | None = None) -> None:  # type: ignore[override]
        """Set a schedule that counts epochs to an epoch.

        Arguments:
            epoch: its number.
            metric: passed on to the scheduler.
        """
        self.scheduler.step(epoch, metric)
