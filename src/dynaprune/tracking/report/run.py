"""A recorded run, with the totals that a report shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..recording import RecordedEpoch, RecordedSamples, read_epochs, read_run, read_samples


@dataclass(frozen=True)
class RecordedRun:
    """A recorded run.

    Attributes:
        facts: the entries of `run.json`.
        epochs: the summaries of its epochs.
        samples: the state of all samples after the last epoch.
    """

    facts: dict[str, Any]
    epochs: list[RecordedEpoch]
    samples: RecordedSamples

    @classmethod
    def read(cls, directory: Path) -> RecordedRun:
        """Read a recording.

        Raises:
            FileNotFoundError: there is no recording.
            RuntimeError: a file is damaged.
        """
        return cls(read_run(directory), read_epochs(directory), read_samples(directory))

    @property
    def visits_made(self) -> int:
        """The number of sample visits in the recorded epochs."""
        return sum(epoch.visits for epoch in self.epochs)

    @property
    def visits_avoided(self) -> int:
        """The number of further sample visits that full epochs would have made."""
        return sum(avoided(epoch) for epoch in self.epochs)

    @property
    def share_saved(self) -> float:
        """The share of the sample visits of full epochs that was avoided, in [0, 1)."""
        total = self.visits_made + self.visits_avoided
        return self.visits_avoided / total if total else 0.0

    @property
    def seconds(self) -> float:
        """The wall-clock time of the recorded epochs."""
        return sum(epoch.seconds for epoch in self.epochs)

    @property
    def seconds_saved(self) -> float:
        """The time of the avoided visits, if each takes as long as the visits of its epoch."""
        return sum(saved_seconds(epoch) for epoch in self.epochs)

    @property
    def share_served(self) -> NDArray[np.float64]:
        """The share of the counted epochs in which each sample was served: shape (N,)."""
        return self.samples.visits / max(1, self.samples.epochs)


def avoided(epoch: RecordedEpoch) -> int:
    """Return the number of sample visits that an epoch has avoided."""
    if epoch.kept == 0:
        return 0
    return min(epoch.visits, epoch.kept) * max(0, epoch.num_samples - epoch.kept) // epoch.kept


def saved_seconds(epoch: RecordedEpoch) -> float:
    """Return the time that the avoided visits of an epoch would have taken, in seconds."""
    return epoch.seconds * avoided(epoch) / epoch.visits if epoch.visits else 0.0
