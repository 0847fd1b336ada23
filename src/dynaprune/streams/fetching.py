"""Fetching a stream with torch's loader: the dataset that it sees, and what comes of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from ..indexed import Forwarding
from .bulletin import Bulletin
from .dataset import PrunedIterableDataset
from .serving import Orders, Serving, serve


class Keyed(NamedTuple):
    """A batch, and its samples' keys; a named tuple, because torch pins what is in those.

    Attributes:
        indices: int64, shape (B,): the fingerprints of the samples' keys.
        weights: float32, shape (B,): their weights.
        before: see `Serving`: of the batch's first sample.
        after: of its last one.
        first: see `Serving`.
        batch: what the loop gets.
    """

    indices: NDArray[np.int64]
    weights: NDArray[np.float32]
    before: int
    after: int
    first: int
    batch: Any


class StreamPass(Forwarding, IterableDataset[Any]):
    """The stream for the fetcher: serves what the pass keeps, and is else the user's stream.

    Workers see it as `get_worker_info().dataset`, and a `worker_init_fn` may read and write the
    stream's attributes there.

    Arguments:
        dataset: the stream.
        has_workers: whether other processes fetch.
        live_on: whether those begin pass after pass.
    """

    def __init__(self, dataset: PrunedIterableDataset, has_workers: bool, live_on: bool) -> None:
        super().__init__(dataset.stream)
        vars(self).update(_dataset=dataset, _has_workers=has_workers, _live_on=live_on)
        vars(self).update(_bulletin=Bulletin(), _orders=None)

    def begin(self, orders: Orders) -> None:
        """Let the next iterator serve a pass.

        Arguments:
            orders: what it serves.
        """
        if self._has_workers:
            self._bulletin.publish(vars(orders))
        else:
            vars(self).update(_orders=orders)

    def __iter__(self) -> Iterator[Serving]:
        orders, worker = self._orders, get_worker_info()
        if self._has_workers:
            orders = Orders(**self._bulletin.read(latest=self._live_on))
        if worker is None:
            return serve(self._dataset, orders, 0, 1)
        return serve(self._dataset, orders, worker.id, worker.num_workers)


class CollateKeyed:
    """The user's collate function, applied to the samples and not to what comes with them.

    Arguments:
        collate_fn: the user's.
        one_by_one: whether it is given a sample, and not a list of them.
    """

    def __init__(self, collate_fn: Callable[[Any], Any], one_by_one: bool) -> None:
        self.collate_fn, self.one_by_one = collate_fn, one_by_one

    def __call__(self, fetched: Any) -> Keyed:
        """Return a batch of what the fetcher has collected."""
        served: list[Serving] = [fetched] if self.one_by_one else fetched
        samples = [each.sample for each in served]
        return Keyed(
            np.array([each.fingerprint for each in served], dtype=np.int64),
            np.array([each.weight for each in served], dtype=np.float32),
            served[0].before,
            served[-1].after,
            served[0].first,
            self.collate_fn(samples[0] if self.one_by_one else samples),
        )


def checked(batches: Iterable[Keyed]) -> Iterator[Keyed]:
    """Yield batches, and see to it that workers have read the same stream.

    Raises:
        RuntimeError: they have not.
    """
    after = 0
    for each in batches:
        if each.before != after:
            raise RuntimeError(
                "the workers of the loader do not read the same samples in the same order, so "
                "some would be lost. If the stream gives each worker a part of its own, say "
                "PrunedIterableDataset(..., splits_itself=True). If it is shuffled, fix its seed, "
                "or shuffle by PrunedIterableDataset(..., shuffle=1000) instead"
            )
        after = each.after
        yield each


def in_step(
    batches: Iterator[Keyed], block: int, range_of: Callable[[int], tuple[int, int]]
) -> Iterator[Keyed]:
    """Yield as many batches as all ranks have.

    Arguments:
        batches: of this rank.
        block: how many batches are fetched between two agreements.
        range_of: returns the least and the most of the numbers that the ranks give it.
    """
    while True:
        fetched = list(islice(batches, block))
        common, _ = range_of(len(fetched))
        yield from fetched[:common]
        if common < block:
            return
