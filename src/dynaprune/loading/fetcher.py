"""What the ways to fetch batches have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch.utils.data

from ..planning.share import Share
from ..pruned_dataset import PrunedDataset
from .serve import Told


class Fetcher(ABC):
    """A loader of torch that does the work of ours, so that ours is what the user gave in all else.

    Arguments:
        loader: that loader.

    Attributes:
        loader: the same, or what a framework has put around it.
        inner: the same, always.
    """

    def __init__(self, loader: torch.utils.data.DataLoader[Any]) -> None:
        self.loader = self.inner = loader

    def begin(self, train: PrunedDataset) -> Iterator[Any]:
        """Return an iterator over what is fetched in the next pass.

        Arguments:
            train: the pruned dataset.
        """
        return iter(self.loader)

    def collate(self, collate_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return what the loader collates by, where the user collates by `collate_fn`."""
        return collate_fn

    @abstractmethod
    def told(self, fetched: Iterator[Any], share: Share) -> Iterator[Told]:
        """Yield the batches that were fetched with what there is to know of their samples.

        Arguments:
            fetched: of `begin`.
            share: what the pass serves.
        """
