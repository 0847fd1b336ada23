"""Streams to test with, as users have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from dynaprune import BLS, PrunedDataset, PrunedIterableDataset


class Stored:
    """Yields `(key, number)` for the numbers 0, 1, … and remembers how often it did."""

    def __init__(self, length: int) -> None:
        self.numbers = list(range(length))
        self.read = 0

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for number in self.numbers:
            self.read += 1
            yield f"sample {number}", number


class Split(IterableDataset[Any]):
    """The same, but gives each rank and each worker a part of its own."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.rank, self.world_size = length, rank, world_size

    def __iter__(self) -> Iterator[tuple[str, int]]:
        worker = get_worker_info()
        part, parts = (0, 1) if worker is None else (worker.id, worker.num_workers)
        first, step = self.rank + self.world_size * part, self.world_size * parts
        return ((f"sample {number}", number) for number in range(first, self.length, step))


def second(stored: tuple[str, int]) -> Tensor:
    return torch.tensor(stored[1])


def stream_of(source: Any, **arguments: Any) -> PrunedIterableDataset:
    return PrunedIterableDataset(source, key=0, decode=second, **arguments)


def bls_stream(
    method: type[PrunedDataset], length: int = 100, *, shuffle: int = 20, **arguments: Any
) -> PrunedDataset:
    """Return a method on a stream of numbers, scored by BLS."""
    arguments.setdefault("num_epochs", 10)
    train: PrunedDataset = BLS(
        method(stream_of(Stored(length), shuffle=shuffle), **arguments)
    ).proxy()
    return train
