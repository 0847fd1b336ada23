"""What an epoch has measured so far: before a checkpoint, since then, and on other ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..losses.buffer import LossBuffer
from ..losses.measurements import Measurements
from ..planning.plan import Plan
from .distributed import Ranks


@dataclass(frozen=True)
class SavedProgress:
    """How far an epoch has come: what a checkpoint in its middle adds to one between epochs.

    Attributes:
        batches: what all ranks have measured in it; the samples of a stream by the fingerprints of
            their keys.
        visits: the sample visits that they have made in it.
        seconds: wall-clock seconds that it has taken.
        repeats: how often it serves each of its samples.
    """

    batches: Measurements = field(default_factory=Measurements.none)
    visits: int = 0
    seconds: float = 0.0
    repeats: int = 1

    def served(self) -> Tensor:
        """Return the samples that have no visit due any more: int64."""
        if self.repeats == 1:
            return self.batches.indices.long()
        samples, visits = np.unique(self.batches.indices.numpy(), return_counts=True)
        return torch.from_numpy(samples[visits >= self.repeats]).long()


class EpochProgress:
    """The measurements of one epoch.

    Of those that other ranks make, a rank knows when all have come together in `gather`; of its own
    it has a record.

    Arguments:
        ranks: the processes that train together.
        resumed: how far the epoch had come when a checkpoint was loaded.

    Attributes:
        record: what this rank has reported since.
    """

    def __init__(self, ranks: Ranks, resumed: SavedProgress | None = None) -> None:
        self.ranks = ranks
        self.resumed = SavedProgress() if resumed is None else resumed
        self.record = LossBuffer()
        self._gathered: SavedProgress | None = None
        self._gathered_at = (0, 0)

    @property
    def visits(self) -> int:
        """The sample visits by all ranks, if others made as many as this one."""
        return self.resumed.visits + self.ranks.size * self.record.num_visits

    def are_known(self, step: int) -> bool:
        """Whether those of all ranks are known without a collective; `step` as in `gather`."""
        return self.ranks.size == 1 or self._has_gathered(step)

    def gather(
        self,
        step: int,
        check: Callable[[Measurements], None],
        plan: Plan,
        facts: Mapping[str, Any],
    ) -> SavedProgress:
        """Return those of all ranks: with several, a collective.

        Arguments:
            step: a number that changes with each step on all ranks, also where one makes no update:
                either all exchange what is new, or none does.
            check: raises if samples are not those of the data set.
            plan: of the epoch.
            facts: what has to be the same on all ranks.

        Raises:
            RuntimeError: indices that were on a device are out of range, or the ranks do not agree.
        """
        if not self.record and self.ranks.size == 1:
            return self.resumed
        if self._gathered is None or not self._has_gathered(step):
            own = self.record.batches()
            check(own)
            if self.ranks.size > 1:
                own = self.ranks.exchange(own, plan, facts)
            together = self.resumed.batches.followed_by(own)
            self._gathered = SavedProgress(together, self.resumed.visits + own.indices.numel())
            self._gathered_at = step, self.record.num_visits
        return self._gathered

    def forget_others(self) -> None:
        """Let the next `gather` be a collective."""
        self._gathered = None

    def _has_gathered(self, step: int) -> bool:
        return self._gathered is not None and self._gathered_at == (step, self.record.num_visits)
