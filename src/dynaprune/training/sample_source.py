"""What the run needs to know of a data set: the base class of all kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import numpy as np
from torch import Tensor

from ..data.indexed import as_indices, check_range, usual_indices
from ..data.keys import KeyTable
from ..losses.measurements import Indices, Measurements
from ..planning.plan import Plan
from ..planning.share import Share, ShareRequest
from ..scores import Score
from .distributed import Ranks
from .progress import SavedProgress

Facts: TypeAlias = dict[str, Any]
"""What has to be the same on all ranks, integers and strings, by name."""


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

    def still_due(self, plan: Plan, progress: SavedProgress) -> Plan:
        """Return a plan with the samples that a checkpoint says are still due."""
        return plan.without(progress.served())

    def check_served(self, plan: Plan) -> None:
        """Check that samples may still come, if a loader makes no batch of a plan.

        Raises:
            RuntimeError: nothing of a stream has come.
        """

    # Several ranks

    def recorded_order(self, plan: Plan, share: Share | None) -> Tensor:
        """Return the samples in the order in which this rank most likely records them, shape (n,).

        It makes recording cheaper where it is right. Its dtype can hold all that are recorded.

        Arguments:
            plan: of the epoch.
            share: what this rank serves of it, if known.
        """
        return plan.order[:0] if share is None else share.order

    def visits_of_all(self, own: int, gathered: Callable[[], int]) -> int:
        """Return a number that is 0 if no rank has trained on the epoch: a collective.

        Arguments:
            own: the visits that are known here.
            gathered: returns the visits of all ranks that divide the epoch, by a collective.
        """
        return gathered()

    def agree_on_lengths(self, coming_plan: Callable[[], Plan]) -> None:
        """Where all ranks arrive, agree on how many samples each of them serves.

        Arguments:
            coming_plan: returns the plan of the next epoch; only called if it is needed.
        """

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
