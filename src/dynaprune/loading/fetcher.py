"""The base class of the ways to fetch batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch.utils.data

from ..planning.share import Share
from ..pruned_dataset import PrunedDataset
from ..training.batch import Batch


class Fetcher(ABC):
    """Wraps a loader of torch that fetches the batches, so that ours keeps the user's attributes.

    Arguments:
        loader: the loader that fetches.

    Attributes:
        loader: the same, or a framework's wrapper of it.
        inner: always the loader itself.
    """

    def __init__(self, loader: torch.utils.data.DataLoader[Any]) -> None:
        self.loader = self.inner = loader

    def begin(self, train: PrunedDataset) -> Iterator[Any]:
        """Return an iterator over the fetched batches of the next pass.

        Arguments:
            train: the pruned dataset.
        """
        return iter(self.loader)

    def collate(self, collate_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the loader's collate function, made from the user's `collate_fn`."""
        return collate_fn

    @abstractmethod
    def tracked(self, fetched: Iterator[Any], share: Share) -> Iterator[tuple[Batch, Any]]:
        """Yield what is known of each fetched batch's samples, and what the loop gets.

        Arguments:
            fetched: what `begin` returned.
            share: the samples that the pass serves.
        """
