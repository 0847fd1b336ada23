"""The kinds of data sets that can be pruned, and all that differs between them.

A data set is indexed (every rank knows all samples), sharded (each rank has samples of its own) or
a stream, whose samples have keys and are known only once they have come. `source_for` chooses the
class.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch

from ..data.indexed import as_indices, check_range, usual_indices
from ..data.keys import KeyTable
from ..data.sharded import Sharded
from ..data.stream import PrunedIterableDataset
from ..losses.measurements import Indices, Measurements
from ..planning.plan import Plan, digest
from ..planning.share import Share, ShareRequest, share_of, whole
from ..scores import Score
from ..utils.sampling import count_distinct
from ..utils.validation import check_map_style
from .distributed import Ranks
from .progress import SavedProgress
from .share_lengths import ShareLengths

logger = logging.getLogger("dynaprune")

Facts: TypeAlias = dict[str, Any]
"""What has to be the same on all ranks, integers and strings, by name."""

MANY = 10**9
"""The length of a stream that does not say how long it is, for checks of budgets."""


class SampleSource(ABC):
    """A data set, as far as its kind matters to the run; it holds no reference to the data.

    Attributes:
        num_samples: N, at construction; 0 for a stream.
        expected_samples: how many samples a stream is said to have; 0 if it is not said, or if the
            data set is indexed.
        identity: what runs that train together, or one after the other, have in common.
        part: the rank and world size, if each rank has samples of its own.
        ranks: the processes that train together.
    """

    is_stream: ClassVar[bool] = False
    """Whether samples have keys instead of indices, and a length that is not known in advance."""

    noun: ClassVar[str] = "samples"
    """What `num_samples` counts, for messages."""

    and_others: ClassVar[str] = ""
    """What is served beside the planned samples, for messages."""

    first_selecting_epoch: ClassVar[int] = 0
    """The first epoch that can skip samples."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples
        self.expected_samples = 0
        self.ranks = Ranks()
        self.identity: Facts = {}
        self.part: dict[str, int] = {}

    # Its samples

    @property
    def announced_samples(self) -> int:
        """How many samples the data set has, as far as is known at construction."""
        return self.num_samples

    def new_keys(self) -> KeyTable | None:
        """Return an empty table of keys if samples have keys."""
        return None

    def require_indices(self, method: str, done: str, instead: str) -> None:
        """Check that samples have indices.

        Arguments:
            method: the name of the pruning method's class.
            done: what the user did, for the message.
            instead: what to do instead.

        Raises:
            RuntimeError: the data set is a stream.
        """

    def check_samples(self, dataset: Any, method: str) -> None:
        """Check that a data set has the samples that the scores are about.

        Arguments:
            dataset: the data set as it is now.
            method: the name of the pruning method's class.

        Raises:
            RuntimeError: its length has changed.
        """

    def check_indices(self, indices: Any) -> Indices:
        """Return the samples of a batch as an array on the host, or as a tensor on their device.

        It is a copy: the loop may write to its own tensor, and a worker's tensor holds a file open.

        Raises:
            RuntimeError: they are not the samples of a batch.
        """
        usual = usual_indices(indices, self.num_samples)
        if usual is not None:
            return usual
        batch = as_indices(indices, "update(loss, indices=...)")
        if batch.device.type != "cpu":
            return batch  # its range is checked at the fold: checking it now would wait
        check_range(batch, self.num_samples)
        return np.asarray(batch)

    def check_measurements(self, own: Measurements, num_samples: int) -> None:
        """Check indices that were on a device until now, or come from a state.

        Raises:
            RuntimeError: one is out of range.
        """
        if len(own) > 0:
            check_range(own.indices, num_samples)

    def registered(
        self, score: Score, every: Measurements, finite: Measurements, epoch: int
    ) -> tuple[Measurements, Measurements]:
        """Return measurements by the numbers that a score has for their samples.

        Arguments:
            score: the score; a stream's gets the keys that are new.
            every: all measurements of an epoch.
            finite: those whose losses are finite.
            epoch: the number of the epoch, for warnings.
        """
        return every, finite

    # What is served

    @abstractmethod
    def share(self, plan: Plan, request: ShareRequest, resumed_visits: int) -> Share:
        """Return what a sampler is to serve of a plan.

        Arguments:
            plan: of the epoch.
            request: which part.
            resumed_visits: the visits of this plan that a checkpoint says were made before.

        Raises:
            RuntimeError: the data set cannot be divided in this way.
        """

    def share_length(
        self, plan: Plan, request: ShareRequest, num_samples: int, resumed_visits: int
    ) -> int:
        """Return the number of samples in such a share, as far as is known.

        Raises:
            TypeError: nothing is known yet about the length of a stream.
        """
        return len(self.share(plan, request, resumed_visits))

    @abstractmethod
    def full_length(self, num_samples: int, request: ShareRequest) -> int:
        """Return the number of samples in a share of an epoch that skips nothing.

        Arguments:
            num_samples: N; the samples of a stream that are known.
            request: which part.

        Raises:
            TypeError: nothing is known yet about the length of a stream.
        """

    def expected_visits(self, plan: Plan | None, num_samples: int) -> int:
        """Return how many samples an epoch will serve on all ranks, as far as is known."""
        return 0 if plan is None else len(plan)

    def still_due(self, plan: Plan, progress: SavedProgress) -> Plan:
        """Return a plan with the samples that a checkpoint says are still due."""
        return plan.without(progress.served())

    def check_served(self, plan: Plan) -> None:
        """Check that samples may still come, if a loader makes no batch of a plan.

        Raises:
            RuntimeError: nothing of a stream has come.
        """

    # Several ranks

    def agree_on_lengths(self, plan: Plan) -> None:
        """Where all ranks arrive, agree on how many samples each of them serves."""

    def start_over(self) -> None:
        """Forget what ranks have agreed on: a state was loaded."""

    def retire(self, number: int) -> None:
        """Forget what ranks have agreed on for epochs before `number`."""

    @abstractmethod
    def facts(self, plan: Plan, score: Score, resumed_visits: int, first_key: int) -> Facts:
        """Return what has to be the same on all ranks in an epoch.

        Arguments:
            plan: of the epoch.
            score: the scores at its start.
            resumed_visits: the visits of the epoch that a checkpoint says were made before.
            first_key: the fingerprint of the first key of a stream that is the same on all ranks.
        """


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
        self.ranks.are_apart = True
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

    def agree_on_lengths(self, plan: Plan) -> None:
        if self.ranks.world_size > 1:
            self._lengths.agree(plan)

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
        new = max(0, self.expected_samples - num_samples)
        return super().expected_visits(plan, num_samples) + new

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
