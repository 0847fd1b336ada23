"""The Trainer's training loaders: which of them serve pruned datasets, and whether they can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ...loading.loader import DataLoader
from ...planning.sampler import PruningSampler
from ...pruned_dataset import PrunedDataset

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def serves_pruned(loader: Any) -> bool:
    """Return whether a loader is one of dynaprune that serves a pruned dataset."""
    return isinstance(loader, DataLoader) and isinstance(loader.dataset, PrunedDataset)


def dataset_of(loader: Any) -> PrunedDataset:
    """Return the pruned dataset of a loader that a user has given to the callback.

    Raises:
        TypeError: it serves none, or a stream of unknown length.
    """
    if not serves_pruned(loader):
        raise TypeError(
            "PruningCallback expects the training loader, a dynaprune.DataLoader of a "
            f"pruned dataset, but a {type(loader).__name__} was given"
        )
    train = cast("PrunedDataset", loader.dataset)
    _check_length(train)
    return train


def pruned_datasets(trainer: Trainer) -> list[PrunedDataset]:
    """Return the pruned dataset of each training loader that has one.

    Arguments:
        trainer: the Trainer, which has created its training loaders.

    Raises:
        TypeError: no dataset is pruned, or one is a stream of unknown length.
        ValueError: the Trainer has replaced a sampler of theirs.
    """
    loaders = trainer.fit_loop._combined_loader.flattened
    pruned = [each for each in loaders if serves_pruned(each)]
    if not pruned:
        names = ", ".join(type(each).__name__ for each in loaders)
        raise TypeError(
            "PruningCallback expects a training loader that is a dynaprune.DataLoader of a "
            f"pruned dataset, but the Trainer trains {names}: import DataLoader from dynaprune, "
            "and use DataLoader(train, batch_size=...), where train is the pruned dataset"
        )
    for each in pruned:
        _check_sampler(trainer, each)
        _check_length(each.dataset)
    return [each.dataset for each in pruned]


def _check_length(train: PrunedDataset) -> None:
    try:
        train.full_length()
    except TypeError:
        raise TypeError(
            "PruningCallback needs the number of samples of the stream, so that the Trainer "
            "knows how many batches to fetch: PrunedIterableDataset(..., num_samples=N)"
        ) from None


def _check_sampler(trainer: Trainer, loader: DataLoader) -> None:
    """Raise `ValueError` if the Trainer has replaced the sampler of the pruned dataset."""
    sampler: Any = loader.batch_sampler or loader.sampler
    while sampler is not None and not isinstance(sampler, PruningSampler):
        sampler = getattr(sampler, "sampler", None)
    connector = trainer._accelerator_connector
    if sampler is None and trainer.world_size > 1 and connector.use_distributed_sampler:
        raise ValueError(
            "Trainer(use_distributed_sampler=True), which is its default, has replaced the "
            f"sampler of the pruned dataset by a {type(loader.sampler).__name__}. The pruned "
            "dataset already divides its epochs among the devices: give "
            "Trainer(use_distributed_sampler=False), or the loader no batch_sampler of its own"
        )


def check_fetching(fetcher: Any) -> None:
    """Raise `ValueError` if the Trainer fetches a batch ahead of the current one.

    Arguments:
        fetcher: the Trainer's data fetcher.
    """
    if fetcher.length is None and getattr(fetcher, "prefetch_batches", 0) > 0:
        raise ValueError(
            "one of the training loaders has no length, so the Trainer fetches a batch ahead, "
            "and update() would score the wrong batch: give all loaders a length, or combine "
            'them by CombinedLoader(loaders, "min_size")'
        )
