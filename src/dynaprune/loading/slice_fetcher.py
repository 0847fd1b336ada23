"""Batches that are slices of what the sampler serves: nothing has to be carried with them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch.utils.data
from torch.utils.data import BatchSampler

from ..planning.sampler import PruningSampler
from ..planning.share import Share
from ..pruned_dataset import PrunedDataset
from ..training.passes import batch_of
from .fetcher import Fetcher
from .serve import Told
from .tails import WithoutLoneSample

_NONE = np.empty(0, dtype=np.int64)


class SlicesFetcher(Fetcher):
    """The usual case: torch makes batches of the samples in the order in which they are served.

    So a batch holds the next slice of them, whoever fetches it; how long it is, is noted when torch
    asks for it.

    Arguments:
        dataset: the user's dataset.
        batch_sampler: torch's, over our sampler.
        arguments: of the loader.
    """

    def __init__(self, dataset: Any, batch_sampler: BatchSampler, **arguments: Any) -> None:
        self._batches = _Noted(batch_sampler)
        super().__init__(
            torch.utils.data.DataLoader(
                dataset, batch_sampler=cast("BatchSampler", self._batches), **arguments
            )
        )

    @staticmethod
    def suits(loader: torch.utils.data.DataLoader[Any]) -> bool:
        """Whether a loader makes batches in this way.

        Not if it yields them as they come. Nor if its workers live on: a second `iter()` then takes
        over the iterator of the first, whose loop goes on with batches of another pass.

        Arguments:
            loader: ours.
        """
        batches = loader.batch_sampler
        in_order = getattr(loader, "in_order", True) and not loader.persistent_workers
        return (
            in_order and type(batches) is BatchSampler and type(batches.sampler) is PruningSampler
        )

    def begin(self, train: PrunedDataset) -> Iterator[Any]:
        """Return an iterator over batches, each with the number of its samples."""
        fetched = iter(self.loader)
        sizes = self._batches.sizes
        return map(lambda batch: (sizes.popleft(), batch), fetched)  # noqa: C417

    def told(self, fetched: Iterator[Any], share: Share) -> Iterator[Told]:
        """Yield batches with the slices of the share that they are."""
        position, slices = 0, share.batches(self._batches.batch_sampler.batch_size)

        def tell(sized: tuple[int, Any]) -> Told:
            nonlocal position, slices
            size, batch = sized
            indices, mean_weight = next(slices, (_NONE, 1.0))
            if indices.size != size:  # the batch size was changed, or a last sample is not alone
                slices = share.batches(size, position)
                indices, mean_weight = next(slices)
            position += size
            return Told(batch_of(batch, indices, mean_weight), batch)

        return map(tell, fetched)


class _Noted:
    """A batch sampler, and how many samples each batch has that was asked for.

    Arguments:
        batch_sampler: torch's.

    Attributes:
        sizes: of the batches that the last iterator has yielded, for its reader to take away.
    """

    def __init__(self, batch_sampler: BatchSampler) -> None:
        self.batch_sampler = batch_sampler
        self._batches = WithoutLoneSample(batch_sampler)
        self.sizes: deque[int] = deque()

    def __iter__(self) -> Iterator[list[int]]:
        self.sizes = deque()
        return self._noting(self.sizes)

    def _noting(self, sizes: deque[int]) -> Iterator[list[int]]:
        for batch in self._batches:
            sizes.append(len(batch))
            yield batch

    def __len__(self) -> int:
        return len(self._batches)
