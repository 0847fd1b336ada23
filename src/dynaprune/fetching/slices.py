"""Batches that are slices of what the sampler serves: nothing has to be carried with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch.utils.data
from torch.utils.data import BatchSampler

from ..sampler import PruningSampler
from ..share import Share
from .fetcher import Fetcher, Told


class SlicesFetcher(Fetcher):
    """The usual case: torch makes batches of the samples in the order in which they are served.

    So batch number j holds the j-th slice of them, whoever fetches it.

    Arguments:
        dataset: the user's dataset.
        batch_sampler: torch's, over our sampler.
        arguments: of the loader.
    """

    def __init__(self, dataset: Any, batch_sampler: BatchSampler, **arguments: Any) -> None:
        self.batch_sampler = batch_sampler
        self.loader = torch.utils.data.DataLoader(dataset, batch_sampler=batch_sampler, **arguments)

    @staticmethod
    def suits(batch_sampler: Any, in_order: bool) -> bool:
        """Whether batches are made in this way.

        Arguments:
            batch_sampler: of the loader.
            in_order: whether the loader yields batches in the order in which it asks for them.
        """
        is_known = type(batch_sampler) is BatchSampler
        return in_order and is_known and type(batch_sampler.sampler) is PruningSampler

    def told(self, fetched: Iterator[Any], share: Share) -> Iterator[Told]:
        """Yield batches with the slices of the share that they are."""
        slices = share.batches(self.batch_sampler.batch_size)
        for batch, (indices, mean_weight) in zip(fetched, slices, strict=False):
            yield Told(indices, mean_weight, None, batch)
