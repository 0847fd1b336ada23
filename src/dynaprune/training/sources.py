"""The kinds of data sets that can be pruned, and all that differs between them.

A data set is indexed (every rank knows all samples), sharded (each rank has samples of its own) or
a stream, whose samples have keys and are known only once they have come. `source_for` chooses the
class.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..data.keys import KeyTable
from ..data.sharded import Sharded
from ..data.stream import PrunedIterableDataset
from ..losses.measurements import Measurements
from ..planning.plan import Plan, digest
from ..planning.share import Share, ShareRequest, share_of, whole
from ..scores import Score
from ..utils.sampling import count_distinct
from ..utils.validation import check_map_style
from .distributed import SeparateRanks
from .progress import SavedProgress
from .sample_source import Facts, SampleSource
from .share_lengths import ShareLengths

logger = logging.getLogger("dynaprune")

MANY = 10**9
"""The length of a stream that does not say how long it is, for checks of budgets."""


class IndexedSource(SampleSource):
    """A map-style data set; every rank scores all samples."""

    def __init__(self, dataset: Any) -> None:
        super().__init__(check_map_style(dataset))
        self.identity = {"dataset": type(dataset).__name__, "num_samples": self.num_samples}

    def check_samples(self, dataset: Any, method: str) -> None:
        now = len(dataset)
        if now != self.num_samples:
            raise RuntimeError(
                f"the dataset has {now:,} samples now, but had {self.num_samples:,} when this "
                f"{method} was made: scores belong to samples by their index, so wrap the changed "
                "dataset anew"
            )

    def share(self, plan: Plan, request: ShareRequest, resumed_visits: int) -> Share:
        return share_of(
            plan,
            self.ranks.rank if request.rank is None else request.rank,
            self.ranks.size if request.world_size is None else request.world_size,
            drop_last=request.drop_last,
            start=request.start,
        )

    def full_length(self, num_samples: int, request: ShareRequest) -> int:
        size = self.ranks.size if request.world_size is None else request.world_size
        return num_samples // size if request.drop_last else -(-num_samples // size)

    def facts(self, plan: Plan, score: Score, resumed_visits: int, first_key: int) -> Facts:
        return {
            "scores": digest(score.values()),
            "planned samples": plan.digest(),
            "resumed samples": resumed_visits,
        }


class ShardedSource(IndexedSource):
    """One rank's part of a data set: each rank scores and selects its own samples."""

    def __init__(self, dataset: Sharded) -> None:
        super().__init__(dataset)
        self.identity["dataset"] = f"Sharded {type(dataset.dataset).__name__}"
        self.part = {"rank": dataset.rank, "world_size": dataset.world_size}
        self.ranks = SeparateRanks()
        self._lengths = ShareLengths(self.ranks)

    def share(self, plan: Plan, request: ShareRequest, resumed_visits: int) -> Share:
        self._check_parts(request)
        return self._part_of(plan, request, resumed_visits)

    def share_length(
        self, plan: Plan, request: ShareRequest, num_samples: int, resumed_visits: int
    ) -> int:
        return len(self._part_of(plan, request, resumed_visits))  # how it is divided is no matter

    def _part_of(self, plan: Plan, request: ShareRequest, resumed_visits: int) -> Share:
        least, most = self._lengths.of(plan)
        each = least if request.drop_last else most
        if request.start is None:
            return whole(plan, each, resumed_visits)
        every = whole(replace(plan, due=plan.order), each + resumed_visits)  # the loader counted
        return Share(plan, every.order[request.start :], 1, request.start)

    def _check_parts(self, request: ShareRequest) -> None:
        parts, ranks = self.part["world_size"], self.ranks.world_size
        if request.world_size is not None or ranks not in (1, parts):
            found = (
                f"{ranks} ranks train"
                if request.world_size is None
                else "the sampler divides it again"
            )
            raise RuntimeError(
                f"the dataset is divided into {parts} parts, one for each rank, but {found}: give "
                "all ranks Sharded(dataset), and the sampler no world_size"
            )

    def full_length(self, num_samples: int, request: ShareRequest) -> int:
        return num_samples

    def visits_of_all(self, own: int, gathered: Callable[[], int]) -> int:
        _, most = self.ranks.range_of(own)
        return most

    def agree_on_lengths(self, coming_plan: Callable[[], Plan]) -> None:
        if self.ranks.world_size > 1:
            self._lengths.agree(coming_plan())

    def start_over(self) -> None:
        self._lengths = ShareLengths(self.ranks)

    def retire(self, number: int) -> None:
        self._lengths.forget(number)

    def facts(self, plan: Plan, score: Score, resumed_visits: int, first_key: int) -> Facts:
        return {"ranks": self.ranks.world_size, "trained samples": resumed_visits}


class KeyedSource(SampleSource):
    """A stream: the samples that have come are known by their keys, and new ones may follow."""

    is_stream = True
    noun = "known samples"
    and_others = " whose keys are known, and all others"
    first_selecting_epoch = 1  # nothing is known in the first pass

    def __init__(self, dataset: PrunedIterableDataset) -> None:
        super().__init__(0)
        self.expected_samples = dataset.num_samples or 0
        self.identity = {"dataset": type(dataset.stream).__name__}

    @property
    def announced_samples(self) -> int:
        return self.expected_samples or MANY

    def new_keys(self) -> KeyTable:
        return KeyTable()

    def require_indices(self, method: str, done: str, instead: str) -> None:
        raise RuntimeError(
            f"{done}, but this {method} prunes a stream, whose samples have keys and no indices: "
            f"{instead}"
        )

    def check_measurements(self, own: Measurements, num_samples: int) -> None:
        """Fingerprints of keys have no range."""

    def registered(
        self, score: Score, every: Measurements, finite: Measurements, epoch: int
    ) -> tuple[Measurements, Measurements]:
        known = score.register_keys(finite)
        self._check_repeats(known, epoch)
        return known, known

    def _check_repeats(self, batches: Measurements, epoch: int) -> None:
        visits = batches.indices.numel()
        repeated = visits - count_distinct(batches.indices.numpy())
        if repeated >= self.ranks.size:
            logger.warning(
                "epoch %d: of %s sample visits %s were of a key that had come before. Each sample "
                "needs a key of its own, and no two workers or ranks may be given the same ones: "
                "does a stream with splits_itself=True really split itself?",
                epoch,
                f"{visits:,}",
                f"{repeated:,}",
            )

    def share(self, plan: Plan, request: ShareRequest, resumed_visits: int) -> Share:
        return Share(plan, plan.order, 1)  # workers and ranks divide the stream itself

    def recorded_order(self, plan: Plan, share: Share | None) -> Tensor:
        # updates name samples by the fingerprints of keys, of 64 bits
        return torch.empty(0, dtype=torch.int64, device="cpu")

    def share_length(
        self, plan: Plan, request: ShareRequest, num_samples: int, resumed_visits: int
    ) -> int:
        visits = self.expected_visits(plan, num_samples)
        left = max(1, visits - resumed_visits) if visits > 0 else 0
        return self._length_on_a_rank(left, request)

    def full_length(self, num_samples: int, request: ShareRequest) -> int:
        return self._length_on_a_rank(max(num_samples, self.expected_samples), request)

    def _length_on_a_rank(self, samples: int, request: ShareRequest) -> int:
        if samples == 0:
            raise TypeError(
                "how many samples the stream has is not known before its first pass: say "
                "PrunedIterableDataset(..., num_samples=...)"
            )
        size = self.ranks.size if request.world_size is None else request.world_size
        return -(-samples // size)

    def expected_visits(self, plan: Plan | None, num_samples: int) -> int:
        """Return how many samples an epoch will serve on all ranks, as far as is known."""
        kept = 0 if plan is None else len(plan)
        return kept + max(0, self.expected_samples - num_samples)

    def check_served(self, plan: Plan) -> None:
        if not plan.keys:
            raise RuntimeError(
                "the stream yielded no sample, or with drop_last fewer than a batch: there is "
                "nothing to train on"
            )

    def still_due(self, plan: Plan, progress: SavedProgress) -> Plan:
        return plan  # the pass over the stream skips what was served

    def facts(self, plan: Plan, score: Score, resumed_visits: int, first_key: int) -> Facts:
        assert plan.keys is not None
        return {
            "known keys": digest(torch.from_numpy(plan.keys.fingerprints)),
            "the stream's first key": first_key,
            "scores": digest(score.values()),
            "planned samples": plan.digest(),
            "resumed samples": resumed_visits,
        }


def source_for(dataset: Any) -> SampleSource:
    """Return the source for a data set.

    Raises:
        TypeError: it cannot be pruned: neither a map-style data set nor a stream with keys.
        ValueError: it is empty.
    """
    if isinstance(dataset, PrunedIterableDataset):
        return KeyedSource(dataset)
    if isinstance(dataset, Sharded):
        return ShardedSource(dataset)
    return IndexedSource(dataset)
