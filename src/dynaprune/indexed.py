"""Datasets that tell which sample is which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset


def fetch(dataset: Any, indices: Sequence[int]) -> Any:
    """Return the samples `indices` as torch's loader fetches them: all at once where that works."""
    if getattr(dataset, "__getitems__", None):
        return dataset.__getitems__(indices)
    return [dataset[index] for index in indices]


class IndexedDataset(Dataset[Any]):
    """A dataset whose samples carry their index: `(sample, index)`.

    Made by `PrunedDataset.with_indices()`. Any collate function that knows tuples turns a batch
    of these into `(batch, indices)`.

    Arguments:
        dataset: the dataset.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        return self.dataset[index], index

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        """Fetch many at once, in the way that the dataset itself is fetched."""
        return list(zip(fetch(self.dataset, indices), indices, strict=True))
