"""The training loader: that of the Trainer, on pruned epochs."""

from __future__ import annotations

from typing import Any

from torch.utils.data import BatchSampler, RandomSampler

from ...data.sharded import Sharded
from ...loading.loader import DataLoader
from ...pruned_dataset import PrunedDataset
from .._settings import settings_of


def holder_of_samples(pruned: PrunedDataset) -> Any:
    """Return the object whose attribute `dataset` is the training set."""
    return pruned.dataset if isinstance(pruned.dataset, Sharded) else pruned


def check_shuffles(stock: Any) -> None:
    """Check that a loader only shuffles, as pruned epochs do.

    Arguments:
        stock: the Trainer's own training loader.

    Raises:
        TypeError: it groups, repeats or orders its samples, which a pruned loader would not.
    """
    batches = getattr(stock.batch_sampler, "batch_sampler", stock.batch_sampler)  # of all processes
    sampler = getattr(batches, "sampler", batches)
    if type(batches) is BatchSampler and isinstance(sampler, RandomSampler):
        return
    found = sampler if type(batches) is BatchSampler else batches
    raise TypeError(
        f"the Trainer's training loader has a {type(found).__name__}, but a pruned dataset serves "
        "each sample at most once per epoch, shuffled: use a Trainer whose loader only shuffles. "
        "For sentence-transformers use PrunedSentenceTransformerTrainer, which keeps its batch "
        "samplers; trainers of TRL that repeat or order their rows cannot be pruned"
    )


def pruned_loader(pruned: PrunedDataset, stock: Any, batch_sampler: Any = None) -> DataLoader:
    """Return a loader of a pruned dataset with the settings of another loader.

    Arguments:
        pruned: the pruned dataset.
        stock: the Trainer's own training loader.
        batch_sampler: groups the samples of each epoch; by default they are only shuffled.
    """
    sizes: Any = {"batch_sampler": batch_sampler}
    if batch_sampler is None:
        stock_batches = stock.batch_sampler
        sizes = {"batch_size": stock_batches.batch_size, "drop_last": stock_batches.drop_last}
    return DataLoader(pruned, **settings_of(stock), **sizes)


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
