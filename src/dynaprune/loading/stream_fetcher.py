"""Batches of a stream: the fingerprints of the keys travel with the samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, cast

import numpy as np
import torch.utils.data
from torch.utils.data import IterableDataset, get_worker_info

from ..data.indexed import Forwarding
from ..data.keys import KeyTable
from ..data.stream import PrunedIterableDataset
from ..planning.plan import Plan
from ..planning.share import Share
from ..pruned_dataset import PrunedDataset
from ..training.batch import Batch, batch_of
from ..utils.rng import epoch_generator
from .fetcher import Fetcher
from .last_batches import avoids_lone_sample
from .shared_arrays import SharedArrays
from .stream_worker import PassPlan, ServedSample, serve
from .tracked_batch import StreamCheck, TrackedBatch


class StreamFetcher(Fetcher):
    """Lets the workers decide by key which samples they serve, and passes keys and weights along.

    Arguments:
        dataset: the stream.
        collate_fn: the user's collate function.
        batch_size: samples per batch, or `None` for samples one by one.
        drop_last: whether to leave out a last batch that is smaller.
        arguments: further arguments of the loader.
    """

    def __init__(
        self,
        dataset: PrunedIterableDataset,
        collate_fn: Callable[[Any], Any],
        batch_size: int | None,
        drop_last: bool,
        **arguments: Any,
    ) -> None:
        self.batch_size, self.drop_last = batch_size, drop_last
        self._num_begun = 0
        has_workers = arguments["num_workers"] > 0
        self._pass = StreamPass(dataset, has_workers, bool(arguments.get("persistent_workers")))
        super().__init__(
            torch.utils.data.DataLoader(
                cast("Any", self._pass),
                batch_size=None,  # the workers make batches while they select samples
                collate_fn=self.collate(collate_fn),
                **arguments,
            )
        )

    def collate(self, collate_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the user's collate function, applied to the samples but not to their keys."""
        return CollateServed(collate_fn, one_by_one=self.batch_size is None)

    def begin(self, train: PrunedDataset) -> Iterator[Any]:
        """Plan the pass, tell the workers what it serves, and return an iterator over it."""
        plan, ranks = train.begin_epoch().plan, train.epochs.ranks
        resumed = train.epochs.progress.resumed.batches
        is_resumed = plan is train.epochs.plan  # not the next plan, which was not served at all
        self._pass.begin(
            PassPlan(
                epoch=plan.epoch,
                seed=epoch_generator(train.seed, plan.epoch, stream=1).initial_seed(),
                keys=cast("KeyTable", plan.keys).fingerprints,
                weights=plan.weight_of_each(),
                served=np.sort(resumed.indices.numpy()) if is_resumed else np.empty(0, np.int64),
                rank=ranks.rank,
                world_size=ranks.size,
                batch_size=self.batch_size or 1,
                drop_last=self.drop_last,
                avoids_lone=self._avoids_lone_sample(train, plan),
            )
        )
        self._num_begun += 1
        batches = self._from_own_workers(iter(self.loader), self._num_begun)
        if not train.dataset.splits_itself:
            return in_one_order(self._with_first_key(batches, train, plan.epoch))
        if ranks.size == 1:
            return batches
        block = max(1, self.loader.num_workers * (self.loader.prefetch_factor or 2))
        return as_many_on_all_ranks(batches, block, ranks.range_of)

    def _avoids_lone_sample(self, train: PrunedDataset, plan: Plan) -> bool:
        """Whether pruning could cause a batch of one sample, which full passes do not have."""

        def full_length() -> int:
            is_known = max(train.epochs.now.num_samples, train.epochs.source.expected_samples) > 0
            return train.full_length() if is_known else 0

        is_pruned = len(plan) < len(plan.keys or ())
        return is_pruned and avoids_lone_sample(self.batch_size or 1, self.drop_last, full_length)

    def tracked(self, fetched: Iterator[Any], share: Share) -> Iterator[tuple[Batch, Any]]:
        """Yield batches with the keys and weights that were fetched with them."""

        def track(each: TrackedBatch) -> tuple[Batch, Any]:
            assert each.weights is not None
            total = float(np.add.reduce(each.weights, dtype=np.float64))
            mean = total / each.weights.size
            return batch_of(each.batch, each.indices, mean, each.weights), each.batch

        return map(track, fetched)

    def _from_own_workers(
        self, batches: Iterator[TrackedBatch], number: int
    ) -> Iterator[TrackedBatch]:
        """Yield the batches of pass `number`, unless another pass has taken over its workers."""

        def check(each: TrackedBatch) -> TrackedBatch:
            if self.inner.persistent_workers and number != self._num_begun:
                raise RuntimeError(
                    "another loop over this loader has taken over its workers, which are "
                    "persistent: do not call next(iter(loader)) in the middle of an epoch, or "
                    "leave persistent_workers out"
                )
            return each

        return map(check, batches)

    @staticmethod
    def _with_first_key(
        batches: Iterator[TrackedBatch], train: PrunedDataset, epoch: int
    ) -> Iterator[TrackedBatch]:
        """Yield batches, and remember the pass's first key, which ranks compare."""

        def note(each: TrackedBatch) -> TrackedBatch:
            assert each.check is not None
            train.epochs.first_keys[epoch] = each.check.first
            return each

        return map(note, batches)


class StreamPass(Forwarding, IterableDataset[Any]):
    """The fetcher's stream: serves what the pass keeps, and else behaves like the user's stream.

    Workers see it as `get_worker_info().dataset`, and a `worker_init_fn` may read and write the
    stream's attributes there.

    Arguments:
        dataset: the stream.
        has_workers: whether worker processes fetch.
        persistent: whether the workers are persistent.
    """

    def __init__(self, dataset: PrunedIterableDataset, has_workers: bool, persistent: bool) -> None:
        super().__init__(dataset.stream)
        vars(self).update(_dataset=dataset, _has_workers=has_workers, _persistent=persistent)
        vars(self).update(_shared_arrays=SharedArrays(), _pass_plan=None)

    def begin(self, plan: PassPlan) -> None:
        """Let the next iterator serve a pass by this plan."""
        if self._has_workers:
            self._shared_arrays.publish(vars(plan))
        else:
            vars(self).update(_pass_plan=plan)

    def __iter__(self) -> Iterator[list[ServedSample]]:
        plan, worker = self._pass_plan, get_worker_info()
        if self._has_workers:
            plan = PassPlan(**self._shared_arrays.read(latest=self._persistent))
        if worker is None:
            return serve(self._dataset, plan, 0, 1)
        return serve(self._dataset, plan, worker.id, worker.num_workers)


class CollateServed:
    """The user's collate function, applied to the samples but not to their keys and weights.

    Arguments:
        collate_fn: the user's collate function.
        one_by_one: whether it receives a single sample rather than a list.
    """

    def __init__(self, collate_fn: Callable[[Any], Any], one_by_one: bool) -> None:
        self.collate_fn, self.one_by_one = collate_fn, one_by_one

    def __call__(self, served: list[ServedSample]) -> TrackedBatch:
        """Return a batch of the samples that are served together."""
        samples = [each.sample for each in served]
        return TrackedBatch(
            np.array([each.fingerprint for each in served], dtype=np.int64),
            self.collate_fn(samples[0] if self.one_by_one else samples),
            np.array([each.weight for each in served], dtype=np.float32),
            StreamCheck(served[0].before, served[-1].after, served[0].first),
        )


def in_one_order(batches: Iterable[TrackedBatch]) -> Iterator[TrackedBatch]:
    """Yield batches, and check that all workers have read the same stream.

    Raises:
        RuntimeError: they have not.
    """
    after = 0

    def check(each: TrackedBatch) -> TrackedBatch:
        nonlocal after
        assert each.check is not None
        if each.check.before != after:
            raise RuntimeError(
                "the workers of the loader do not read the same samples in the same order, so "
                "some would be lost. If each worker reads only its own part of the stream, give "
                "PrunedIterableDataset(..., splits_itself=True). If it is shuffled, fix its seed, "
                "or shuffle by PrunedIterableDataset(..., shuffle=1000) instead"
            )
        after = each.check.after
        return each

    return map(check, batches)


def as_many_on_all_ranks(
    batches: Iterator[TrackedBatch], block: int, range_of: Callable[[int], tuple[int, int]]
) -> Iterator[TrackedBatch]:
    """Yield as many batches as all ranks have, but at least the first one of this rank.

    Arguments:
        batches: the batches of this rank.
        block: the most batches that are fetched between two collectives.
        range_of: returns the minimum and the maximum of a number over all ranks.
    """
    first = next(batches, None)
    if first is not None:  # without a collective: one rank alone may look at a batch
        held = [first]
        del first
        yield held.pop()
    block, _ = range_of(block)  # ranks may have different numbers of workers
    while True:
        fetched = deque(islice(batches, block))
        common, _ = range_of(len(fetched))
        for _ in range(common):
            yield fetched.popleft()
        if common < block:
            return
