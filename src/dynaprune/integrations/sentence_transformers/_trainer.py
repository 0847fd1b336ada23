"""The methods of the trainers of sentence-transformers that pruned epochs change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import ConcatDataset

from ...data.sharded import Sharded
from ...loading.loader import DataLoader
from ...utils.optional_imports import require
from ..transformers import PrunedTrainerMixin
from ..transformers._loader import pruned_loader
from ._batches import GroupedBatches
from ._groups import Groups

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from sentence_transformers import (
        CrossEncoderTrainer,
        SentenceTransformerTrainer,
        SparseEncoderTrainer,
    )
else:
    _package = require("sentence_transformers", "sentence-transformers")
    Dataset = require("datasets", "sentence-transformers").Dataset
    DatasetDict = require("datasets", "sentence-transformers").DatasetDict
    CrossEncoderTrainer = _package.CrossEncoderTrainer
    SentenceTransformerTrainer = _package.SentenceTransformerTrainer
    SparseEncoderTrainer = _package.SparseEncoderTrainer


class PrunedEncoderTrainerMixin(PrunedTrainerMixin):
    """Makes a trainer of sentence-transformers train pruned epochs; put it first in the bases.

    - `batch_sampler` groups the samples that an epoch keeps: `NO_DUPLICATES`, `GROUP_BY_LABEL` and
      your own work as without pruning. The trainer makes one for each epoch, of a dataset that
      contains only these samples.
    - Several training sets, in a `DatasetDict` or a dict, are joined in its order: `pruning` gets
      one dataset, and selects from all of them by one score. `multi_dataset_batch_sampler` orders
      their batches.
    - Everything else is as in `PrunedTrainerMixin`.

    Arguments:
        arguments: the trainer's arguments.
        pruning: a function that creates the pruned dataset from the (joined) training set.
        keywords: the trainer's keyword arguments.

    Attributes:
        pruned: the pruned dataset.

    Raises:
        TypeError: `pruning` returns no pruned dataset, one of a stream, or one of other samples
            than rows of the training set.
    """

    def _training_samples(self) -> Any:
        train: Any = self.train_dataset  # type: ignore[attr-defined]
        return ConcatDataset(list(train.values())) if isinstance(train, DatasetDict) else train

    def get_train_dataloader(self) -> DataLoader:
        """Return the loader of pruned epochs, with the settings of the trainer's own loader."""
        trainer: Any = self
        joined = isinstance(trainer.train_dataset, DatasetDict)
        samples = self.pruned.dataset
        parts = samples.datasets if joined and isinstance(samples, ConcatDataset) else [samples]
        if not all(isinstance(each, Dataset) for each in parts) or isinstance(samples, Sharded):
            raise TypeError(
                f"pruning has made a pruned dataset of a {type(samples).__name__}, but "
                "sentence-transformers groups rows of a datasets.Dataset: give it the dataset that "
                "pruning receives, or dataset.select(indices)"
            )
        batches = GroupedBatches(
            self.pruned,
            Groups(self, parts, joined).of,
            trainer.args.train_batch_size,
            trainer.args.dataloader_drop_last,
        )
        stock = super(PrunedTrainerMixin, self).get_train_dataloader()  # type: ignore[misc]
        return self._fetched(pruned_loader(self.pruned, stock, batches))


class PrunedSentenceTransformerTrainer(PrunedEncoderTrainerMixin, SentenceTransformerTrainer):  # type: ignore[misc]
    """`SentenceTransformerTrainer` on pruned epochs; see `PrunedEncoderTrainerMixin`.

    Arguments:
        arguments: the trainer's arguments.
        pruning: a function that creates the pruned dataset from the training set, such as
            `lambda dataset: BLS(InfoBatch(dataset, num_epochs=3)).proxy()`.
        keywords: the trainer's keyword arguments.
    """


class PrunedCrossEncoderTrainer(PrunedEncoderTrainerMixin, CrossEncoderTrainer):  # type: ignore[misc]
    """`CrossEncoderTrainer` on pruned epochs; see `PrunedEncoderTrainerMixin`.

    Arguments:
        arguments: the trainer's arguments.
        pruning: a function that creates the pruned dataset from the training set.
        keywords: the trainer's keyword arguments.
    """


class PrunedSparseEncoderTrainer(PrunedEncoderTrainerMixin, SparseEncoderTrainer):  # type: ignore[misc]
    """`SparseEncoderTrainer` on pruned epochs; see `PrunedEncoderTrainerMixin`.

    Arguments:
        arguments: the trainer's arguments.
        pruning: a function that creates the pruned dataset from the training set.
        keywords: the trainer's keyword arguments.
    """
