"""The training loader: that of the Trainer, on pruned epochs."""

from __future__ import annotations

from typing import Any

from ...data.sharded import Sharded
from ...loading.loader import DataLoader
from ...pruned_dataset import PrunedDataset


def holder_of_samples(pruned: PrunedDataset) -> Any:
    """Return the object whose attribute `dataset` is the training set."""
    return pruned.dataset if isinstance(pruned.dataset, Sharded) else pruned


def pruned_loader(pruned: PrunedDataset, stock: Any) -> DataLoader:
    """Return a loader of a pruned dataset with the settings of another loader.

    Arguments:
        pruned: the pruned dataset.
        stock: the Trainer's own training loader.
    """
    # older versions of torch do not have this argument
    in_order: Any = {} if getattr(stock, "in_order", True) else {"in_order": False}
    return DataLoader(
        pruned,
        batch_size=stock.batch_sampler.batch_size,
        drop_last=stock.batch_sampler.drop_last,
        collate_fn=stock.collate_fn,
        num_workers=stock.num_workers,
        pin_memory=stock.pin_memory,
        prefetch_factor=stock.prefetch_factor,
        persistent_workers=stock.persistent_workers,
        multiprocessing_context=stock.multiprocessing_context,
        worker_init_fn=stock.worker_init_fn,
        generator=stock.generator,
        **in_order,
    )


class FullEpoch:
    """Replaces the training loader where the Trainer asks for the length of full epochs.

    Arguments:
        loader: the training loader.
    """

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        self.dataset = loader.dataset

    def __len__(self) -> int:
        return self.loader.batches_per_full_epoch

    def __iter__(self) -> Any:
        return iter(self.loader)
