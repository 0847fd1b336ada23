"""Groups of samples, by the batch samplers that a trainer of sentence-transformers makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset

from .._versions import require
from ._rows import Rows

TESTED = "6.2"


class Groups:
    """Makes the trainer's batch samplers for a part of its training set.

    Several datasets (`DatasetDict`) are joined, and each batch comes from one of them: the
    trainer's `multi_dataset_batch_sampler` says in which order.

    Arguments:
        trainer: a trainer of sentence-transformers.
        datasets: the training sets, joined in this order.
        is_joined: whether they were given as a `DatasetDict`.
    """

    def __init__(self, trainer: Any, datasets: Sequence[Any], is_joined: bool) -> None:
        self._trainer = trainer
        self._datasets = datasets
        self._ends = np.cumsum([len(each) for each in datasets])
        self._is_joined = is_joined
        # both by the number of the dataset
        self._hashes: dict[int, NDArray[np.int64]] = {}
        self._columns: dict[int, dict[str, list[Any]]] = {}

    def of(self, samples: NDArray[np.int64], epoch: int) -> Any:
        """Return a batch sampler whose batches are positions in `samples`.

        Arguments:
            samples: shape (K,), in ascending order: indices into the joined training set.
            epoch: the number of the epoch, which changes the random numbers.
        """
        trainer = self._trainer
        generator = torch.Generator().manual_seed(trainer.args.seed + epoch)
        cuts = np.searchsorted(samples, self._ends)
        starts = self._ends - [len(each) for each in self._datasets]
        parts, samplers = [], []
        for number, own in enumerate(np.split(samples, cuts[:-1])):
            if own.size == 0:  # a round robin would end before its first batch
                continue
            rows = own - starts[number]
            parts.append(self._rows_of(number, rows))
            samplers.append(self._sampler_of(parts[-1], generator))
            self._share_hashes(samplers[-1], number, rows)
        if self._is_joined:
            batches = trainer.get_multi_dataset_batch_sampler(
                dataset=ConcatDataset(parts),
                batch_samplers=samplers,
                generator=generator,
                seed=trainer.args.seed,
            )
        else:
            batches = samplers[0]
        if hasattr(batches, "set_epoch"):
            batches.set_epoch(epoch)
        return batches

    def _rows_of(self, number: int, rows: NDArray[np.int64]) -> Any:
        """Return rows of a dataset, for a batch sampler to group."""
        dataset = self._datasets[number]
        if self._trainer.args.batch_sampler == "group_by_label":
            return Rows(dataset, rows, self._columns.setdefault(number, {}))
        return dataset.select(rows, keep_in_memory=True)  # no file in the cache for each epoch

    def _sampler_of(self, part: Any, generator: torch.Generator | None = None) -> Any:
        trainer = self._trainer
        return trainer.get_batch_sampler(
            part,
            batch_size=trainer.args.train_batch_size,
            drop_last=trainer.args.dataloader_drop_last,
            valid_label_columns=trainer.data_collator.valid_label_columns,
            generator=generator,
            seed=trainer.args.seed,
        )

    def _share_hashes(self, sampler: Any, number: int, rows: NDArray[np.int64]) -> None:
        """Hash the values of a dataset once, and not once per epoch (`NO_DUPLICATES_HASHED`)."""
        if not getattr(sampler, "precompute_hashes", False):
            return
        if number not in self._hashes:
            whole = self._sampler_of(self._datasets[number])
            require(whole, "_build_hashes", "sentence-transformers", TESTED)()
            hashes = require(whole, "_row_hashes", "sentence-transformers", TESTED)
            self._hashes[number] = hashes
        sampler._row_hashes = self._hashes[number][rows]
