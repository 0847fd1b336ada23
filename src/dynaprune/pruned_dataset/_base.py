"""What all duties of a pruned dataset share."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from ..planning.planner import Planner, Selects
from ..training.epochs import Epochs


class Base:
    """A run over a dataset.

    Attributes:
        dataset: the dataset.
        num_epochs: E, the number of epochs that the run will train.
        seed: fixes every random choice, together with the epoch's number.
        epochs: the life of the epochs.
    """

    dataset: Any
    num_epochs: int
    seed: int
    epochs: Epochs

    @property
    def is_stream(self) -> bool:
        """Whether the dataset is a stream, whose samples have keys and no indices."""
        return self.epochs.source.is_stream

    @property
    def _planner(self) -> Planner:
        # made for each use: kept, it would refer to the object that holds it, and the memory of
        # large runs would wait for the garbage collector
        check = partial(self.epochs.source.check_samples, self.dataset, type(self).__name__)
        return Planner(cast("Selects", self), self.seed, check)

    def _require_indices(self, done: str, instead: str) -> None:
        """Raise `RuntimeError` if the dataset is a stream: `done` says what the user did."""
        self.epochs.source.require_indices(type(self).__name__, done, instead)
