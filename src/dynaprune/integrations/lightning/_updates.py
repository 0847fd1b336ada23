"""The check that training steps call `update`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...pruned_dataset import PrunedDataset

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

PATIENCE = 8
"""Batches that may be trained without an `update`: a module may skip its first ones on purpose."""


class UpdateCheck:
    """Raises an error if batches are trained but not scored."""

    def __init__(self) -> None:
        self._datasets: list[PrunedDataset] = []
        self._visits: list[int] = []  # of each dataset when the epoch began
        self._trained = 0  # batches of the epoch
        self._steps = 0  # optimizer steps before the batch

    def begin_epoch(self, datasets: list[PrunedDataset]) -> None:
        """Begin to count.

        Arguments:
            datasets: the pruned datasets that are trained.
        """
        self._datasets, self._trained = datasets, 0
        self._visits = [train.summary().visits_made for train in datasets]

    def begin_batch(self, trainer: Trainer) -> None:
        """Note the number of optimizer steps before a batch."""
        self._steps = trainer.global_step

    def end_batch(self, trainer: Trainer, module: LightningModule, outputs: Any) -> None:
        """Count a batch if it was trained: `training_step` may return `None` for others.

        Arguments:
            trainer: the Trainer.
            module: the module that is trained.
            outputs: what its `training_step` returned.

        Raises:
            RuntimeError: many batches were trained, and none was scored.
        """
        for train in self._datasets:
            with suppress(RuntimeError):  # it was updated
                train.skip_batch()
        if module.automatic_optimization:
            self._trained += bool(outputs)
        else:
            self._trained += trainer.global_step > self._steps
        if self._trained == PATIENCE:
            self._check(module)

    def end_epoch(self, module: LightningModule) -> None:
        """Check an epoch that may have fewer batches.

        Raises:
            RuntimeError: batches were trained, and none was scored.
        """
        if self._trained > 0:
            self._check(module)

    def _check(self, module: LightningModule) -> None:
        if self._visits == [train.summary().visits_made for train in self._datasets]:
            raise RuntimeError(
                f"training_step of {type(module).__name__} has not called update() in the "
                f"{self._trained} batches that were trained, so nothing is scored: return "
                "train.update(loss) instead of loss, where train is the pruned dataset"
            )
