"""Batches that are slices of the served order, so their indices need not be transferred."""

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
from ..training.batch import Batch, batch_of
from .fetcher import Fetcher
from .last_batches import WithoutLoneSample

_NONE = np.empty(0, dtype=np.int64)


class SliceFetcher(Fetcher):
    """The usual case: torch makes batches of the samples in the order in which they are served.

    Each batch is the next slice of that order, whichever worker fetches it. Its length is recorded
    when torch requests it.

    Arguments:
        dataset: the user's dataset.
        batch_sampler: torch's, over our sampler.
        arguments: further arguments of the loader.
    """

    def __init__(self, dataset: Any, batch_sampler: BatchSampler, **arguments: Any) -> None:
        self._batches = _SizeRecorder(batch_sampler)
        super().__init__(
            torch.utils.data.DataLoader(
                dataset, batch_sampler=cast("BatchSampler", self._batches), **arguments
            )
        )

    @staticmethod
    def suits(loader: torch.utils.data.DataLoader[Any]) -> bool:
        """Whether a loader makes batches in this way.

        It does not if batches may arrive out of order. Neither with persistent workers: there a
        second `iter()` takes over the iterator of the first, whose loop would then continue with
        batches of another pass.

        Arguments:
            loader: ours.
        """
        batches = loader.batch_sampler
        in_order = getattr(loader, "in_order", True) and not loader.persistent_workers
        return (
            in_order and type(batches) is BatchSampler and type(batches.sampler) is PruningSampler
        )

    def begin(self, train: PrunedDataset) -> Iterator[Any]:
        """Return an iterator over batches, each with its number of samples."""
        fetched = iter(self.loader)
        sizes = self._batches.sizes
        return map(lambda batch: (sizes.popleft(), batch), fetched)  # noqa: C417

    def tracked(self, fetched: Iterator[Any], share: Share) -> Iterator[tuple[Batch, Any]]:
        """Yield batches with their slices of the share."""
        position, slices = 0, share.batches(self._batches.batch_sampler.batch_size)

        def track(sized: tuple[int, Any]) -> tuple[Batch, Any]:
            nonlocal position, slices
            size, batch = sized
            indices, mean_weight = next(slices, (_NONE, 1.0))
            if indices.size != size:  # the batch size was changed, or a lone sample was avoided
                slices = share.batches(size, position)
                indices, mean_weight = next(slices)
            position += size
            return batch_of(batch, indices, mean_weight), batch

        return map(track, fetched)


class _SizeRecorder:
    """A batch sampler that records the sizes of the batches that were requested.

    Arguments:
        batch_sampler: torch's.

    Attributes:
        sizes: of the batches that the latest iterator has yielded; its reader removes them.
    """

    def __init__(self, batch_sampler: BatchSampler) -> None:
        self.batch_sampler = batch_sampler
        self._batches = WithoutLoneSample(batch_sampler)
        self.sizes: deque[int] = deque()

    def __iter__(self) -> Iterator[list[int]]:
        self.sizes = deque()
        return self._recorded(self.sizes)

    def _recorded(self, sizes: deque[int]) -> Iterator[list[int]]:
        for batch in self._batches:
            sizes.append(len(batch))
            yield batch

    def __len__(self) -> int:
        return len(self._batches)
