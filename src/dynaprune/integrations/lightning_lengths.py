"""How many batches a Lightning Trainer expects of an epoch: it counts once a run, for all epochs.

The Trainer has no public way to tell it otherwise. All that the callback sets in it is set here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..extras import require
from ..loader import DataLoader
from ..pruned import PrunedDataset

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

sized_len = require("lightning.fabric.utilities.data", "lightning").sized_len

BEFORE_TRAINING = ("setup", "configure_model", "configure_optimizers")
"""The hooks of a module in which it asks for lengths to plan the whole run with."""


def serves_pruned(loader: Any) -> bool:
    """Return whether a loader is one of dynaprune that serves a pruned dataset."""
    return isinstance(loader, DataLoader) and isinstance(loader.dataset, PrunedDataset)


def length_of(loader: Any) -> float:
    """Return how many batches a loader has in this epoch; infinity if it does not say."""
    length = sized_len(loader)
    return math.inf if length is None else length


def full_length_of(loader: Any) -> float:
    """Return how many batches a loader has in an epoch that skips nothing, as far as is known."""
    try:
        return loader.batches_per_full_epoch if serves_pruned(loader) else length_of(loader)
    except TypeError:  # a batch sampler of the user's
        return length_of(loader)


def count_batches(trainer: Trainer, length: Callable[[Any], float]) -> float:
    """Return how many batches the Trainer takes of its loaders, and limit each to its share.

    Arguments:
        trainer: the Trainer, which has its loaders.
        length: returns how many batches a loader has.
    """
    combined = trainer.fit_loop._combined_loader
    limits = [_limited(length(each), trainer.limit_train_batches) for each in combined.flattened]
    combined.limits = limits
    if combined._iterator is not None:
        combined._iterator.limits = limits
    return min(limits) if combined._mode == "min_size" else max(limits)


def _limited(length: float, limit: float) -> float:
    if isinstance(limit, int) or math.isinf(length):
        return min(length, limit) if isinstance(limit, int) else length
    return max(int(length * limit), min(length, 1))  # a pruned epoch may be that short


def announce(trainer: Trainer, batches: float) -> None:
    """Let the Trainer expect so many batches of the epoch, and validate at least once in it."""
    trainer.fit_loop.max_batches = batches
    if getattr(trainer, "_val_check_time_interval", None) is not None:
        return
    interval = trainer.val_check_interval
    if not isinstance(interval, int):
        if not math.isinf(batches):
            trainer.val_check_batch = max(1, int(batches * interval))
    elif trainer.check_val_every_n_epoch is None:  # counted over epochs
        trainer.val_check_batch = interval
    else:
        trainer.val_check_batch = max(1, min(interval, batches))


def check_interval(trainer: Trainer) -> None:
    """Refuse to validate every so many batches if even an epoch that skips nothing has fewer.

    Raises:
        ValueError: likewise.
    """
    interval = trainer.val_check_interval
    if not isinstance(interval, int) or trainer.check_val_every_n_epoch is None:
        return
    most = count_batches(trainer, full_length_of)
    if interval > most and trainer.limit_val_batches > 0:
        raise ValueError(
            f"Trainer(val_check_interval={interval}) was given, but an epoch that skips nothing "
            f"has {most} batches: give at most as many, limit_val_batches=0 to validate never, or "
            "check_val_every_n_epoch=None to count batches over epochs"
        )


@contextmanager
def unchecked_interval(trainer: Trainer) -> Iterator[None]:
    """Let the Trainer take its loaders also where an epoch is shorter than that interval."""
    interval = trainer.val_check_interval
    if isinstance(interval, int):
        trainer.val_check_interval = 1.0
    try:
        yield
    finally:
        trainer.val_check_interval = interval


def restarted_at(trainer: Trainer) -> tuple[int, bool]:
    """Return how many batches of its epoch the Trainer's checkpoint counts, and whether it is over.

    Without a checkpoint, or after one that was taken between two epochs, these are 0 and `False`.
    """
    loop = trainer.fit_loop.epoch_loop
    if not loop.restarting:
        return 0, False
    progress, current = loop.batch_progress, loop.batch_progress.current
    # a checkpoint at the end of a training step is taken before that counts as completed
    is_step_end = current.processed == current.ready == current.completed + 1
    done = current.ready if is_step_end else current.completed
    return done, progress.is_last_batch and done == current.ready > 0


def leave_ended_epoch(trainer: Trainer) -> None:
    """Begin the next epoch where the checkpoint was taken at the very end of one.

    With `max_steps`, Lightning would go into that epoch again, and train a batch more in it.
    """
    loop = trainer.fit_loop
    if getattr(loop, "restarted_on_epoch_end", False):
        loop.epoch_progress.increment_completed()
        loop.epoch_loop.restarting = False
        loop.reset_restart_stage()


def is_planning(trainer: Trainer) -> bool:
    """Return whether the module asks for lengths before training, for a schedule of the run."""
    return trainer.lightning_module._current_fx_name in BEFORE_TRAINING
