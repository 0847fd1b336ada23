"""The schedules of the Trainer, which follow the visits of a run whose epochs are pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...loading.lr_scheduler import PrunedScheduler
from ...pruned_dataset import PrunedDataset
from ...utils.optional_imports import require

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

is_overridden = require("lightning.pytorch.utilities.model_helpers", "lightning").is_overridden


def estimated_steps(trainer: Trainer) -> int | None:
    """Return the steps of full training that a hook of the module has been told, if it has asked.

    They are the only way to know what a schedule was built for. `None` also if `max_steps` ends the
    run earlier: then each actual step is one of the schedule.
    """
    if trainer.fit_loop._combined_loader is None or trainer.max_epochs is None:
        return None
    steps = trainer.estimated_stepping_batches
    is_cut_short = trainer.max_steps != -1 and steps >= trainer.max_steps
    return int(steps) if 0 < steps < float("inf") and not is_cut_short else None


def follow_visits(trainer: Trainer, train: PrunedDataset, steps: int) -> None:
    """Let the schedules that count steps reach their end when the run does.

    A schedule that the module steps by its own `lr_scheduler_step` is left alone.

    Arguments:
        trainer: the Trainer, which has just configured its optimizers.
        train: the pruned dataset whose visits they follow.
        steps: the number of steps of full training.
    """
    if is_overridden("lr_scheduler_step", trainer.lightning_module):
        return
    for config in trainer.lr_scheduler_configs:
        counts_steps = config.interval == "step" and not config.reduce_on_plateau
        if counts_steps and not isinstance(config.scheduler, PrunedScheduler):
            in_an_epoch = steps // max(1, trainer.max_epochs) // config.frequency
            config.scheduler = PrunedScheduler(config.scheduler, train, max(1, in_an_epoch))
