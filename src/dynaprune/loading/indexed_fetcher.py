"""Batches of any sampler: the indices travel with the samples."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import torch.utils.data
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..data.indexed import Forwarding, fetch
from ..planning.share import Share
from ..pruned_dataset import PrunedDataset
from ..training.batch import Batch, batch_of
from .fetcher import Fetcher
from .last_batches import WithoutLoneSample, is_ours
from .tracked_batch import TrackedBatch


class IndexedFetcher(Fetcher):
    """Passes the indices of each batch along with it, from the worker to the loop.

    For batch samplers of any kind, samples one by one, batches that arrive out of order, and
    loaders that a framework wraps.

    Arguments:
        dataset: the user's dataset.
        collate_fn: the user's collate function.
        batch_sampler: the loader's batch sampler, or `None` for samples one by one.
        sampler: the loader's sampler.
        arguments: further arguments of the loader.
    """

    def __init__(
        self,
        dataset: Any,
        collate_fn: Callable[[Any], Any],
        batch_sampler: Any,
        sampler: Any,
        **arguments: Any,
    ) -> None:
        one_by_one = batch_sampler is None
        if one_by_one:
            arguments |= {"batch_size": None, "sampler": sampler}
        else:
            spread = WithoutLoneSample(batch_sampler) if is_ours(batch_sampler) else batch_sampler
            arguments |= {"batch_sampler": spread}
        self._under_way: weakref.ref[Iterator[Any]] | None = None
        super().__init__(
            torch.utils.data.DataLoader(
                Indexing(dataset, one_by_one), collate_fn=self.collate(collate_fn), **arguments
            )
        )

    def collate(self, collate_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the user's collate function, applied to the samples but not to the indices."""
        return Collate(collate_fn)

    def begin(self, train: PrunedDataset) -> Iterator[Any]:
        """Return an iterator over the fetched batches of the next pass.

        Persistent workers serve one pass at a time: in torch a second iterator, such as a look at
        one batch, takes them over from the running loop. Here it gets its own workers.
        """
        if self.loader is not self.inner or not self.inner.persistent_workers:
            return super().begin(train)
        if self._under_way is not None and self._under_way() is not None:
            return iter(_with_new_workers(self.inner))
        fetched = _passed_on(iter(self.inner))
        self._under_way = weakref.ref(fetched)
        return fetched

    def tracked(self, fetched: Iterator[Any], share: Share) -> Iterator[tuple[Batch, Any]]:
        """Yield batches with the indices that were fetched with them."""
        plan = share.plan

        def track(each: TrackedBatch) -> tuple[Batch, Any]:
            batch = batch_of(each.batch, each.indices, plan.mean_weight(each.indices))
            return batch, each.batch

        return map(track, fetched)


def _passed_on(fetched: Iterator[Any]) -> Generator[Any, None, None]:
    """Yield the same: unlike torch's persistent iterator, it is freed when its loop is left."""
    yield from fetched


def _with_new_workers(
    loader: torch.utils.data.DataLoader[Any],
) -> torch.utils.data.DataLoader[Any]:
    other = copy.copy(loader)
    vars(other).update(persistent_workers=False, _iterator=None)
    return other


class Indexing(Forwarding, Dataset[TrackedBatch]):
    """The fetcher's dataset: returns indices with the samples, and else behaves like the dataset.

    Workers see it as `get_worker_info().dataset`, and a `worker_init_fn` may read and write the
    dataset's attributes there.

    Arguments:
        samples: the dataset.
        one_by_one: whether torch fetches single samples with `[]` rather than batches.
    """

    def __init__(self, samples: Any, one_by_one: bool) -> None:
        super().__init__(samples)
        vars(self).update(_one_by_one=one_by_one)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        sample = self._samples[index]
        if not self._one_by_one:
            return sample
        return TrackedBatch(np.atleast_1d(_sample_numbers(index)), sample)

    def __getitems__(self, indices: list[int]) -> TrackedBatch:
        return TrackedBatch(_sample_numbers(indices), fetch(self._samples, indices))


def _sample_numbers(indices: Any) -> NDArray[np.int64]:
    """Return the indices that a sampler yields as an array, shape (B,), or () for a single one."""
    numbers = np.asarray(indices)
    if numbers.ndim > 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise TypeError(
            f"the DataLoader of dynaprune expects sample numbers from its sampler, but {indices!r} "
            "was yielded"
        )
    return numbers.astype(np.int64, copy=False)


class Collate:
    """The user's collate function, applied to the samples but not to the indices."""

    def __init__(self, collate_fn: Callable[[Any], Any]) -> None:
        self.collate_fn = collate_fn

    def __call__(self, fetched: Any) -> TrackedBatch:
        """Return a batch of the fetched samples."""
        return TrackedBatch(fetched.indices, self.collate_fn(fetched.batch))
