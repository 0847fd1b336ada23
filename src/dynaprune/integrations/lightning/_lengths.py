"""The number of batches that a Lightning Trainer expects of an epoch.

The Trainer counts them once per run and has no public way to change the number, so private
attributes of the Trainer are set here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...utils.optional_imports import require
from ._loaders import serves_pruned

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

sized_len = require("lightning.fabric.utilities.data", "lightning").sized_len

BEFORE_TRAINING = ("setup", "configure_model", "configure_optimizers")
"""Hooks of a module that read the length of the whole run, such as for a schedule."""


def length_of(loader: Any) -> float:
    """Return how many batches a loader has in this epoch; infinity if it has no length."""
    length = sized_len(loader)
    return math.inf if length is None else length


def full_length_of(loader: Any) -> float:
    """Return how many batches a loader has in an epoch that skips nothing, as far as known."""
    try:
        return loader.batches_per_full_epoch if serves_pruned(loader) else length_of(loader)
    except TypeError:  # a custom batch sampler
        return length_of(loader)


def count_batches(trainer: Trainer, length: Callable[[Any], float]) -> float:
    """Return how many batches the Trainer takes from its loaders, and set the limit of each.

    Arguments:
        trainer: the Trainer, which has its loaders.
        length: a function that returns the number of batches of a loader.
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
    """Set the number of batches that the Trainer expects; at least one validation is in it."""
    trainer.fit_loop.max_batches = batches
    interval = _val_check_interval(trainer)
    if interval is None:
        return
    if not isinstance(interval, int):
        if not math.isinf(batches):
            trainer.val_check_batch = max(1, int(batches * interval))
    elif trainer.check_val_every_n_epoch is None:  # batches are counted over epochs
        trainer.val_check_batch = interval
    else:
        trainer.val_check_batch = max(1, min(interval, batches))


def check_options(trainer: Trainer) -> None:
    """Check that the Trainer's options suit an epoch that skips nothing.

    Raises:
        ValueError: the validation interval is longer than such an epoch, or the share of batches
            to train is less than one batch, or a share of a loader without a length.
    """
    limit, interval = trainer.limit_train_batches, _val_check_interval(trainer)
    if isinstance(limit, float):
        for length in map(full_length_of, trainer.fit_loop._combined_loader.flattened):
            if math.isinf(length) and limit != 1:
                raise ValueError(
                    f"Trainer(limit_train_batches={limit}) was given, but one of the training "
                    "loaders has no length: give a number of batches"
                )
            if length * limit < 1 <= length:
                raise ValueError(
                    f"Trainer(limit_train_batches={limit}) was given, but of {length} batches that "
                    f"is less than one: give at least {1 / length:.3g}, or a number of batches"
                )
    most = count_batches(trainer, full_length_of)
    is_within_an_epoch = isinstance(interval, int) and trainer.check_val_every_n_epoch is not None
    if is_within_an_epoch and interval > most and trainer.limit_val_batches > 0:
        raise ValueError(
            f"Trainer(val_check_interval={interval}) was given, but an epoch that skips nothing "
            f"has {most} batches: give at most {most}, limit_val_batches=0 to never validate, or "
            "check_val_every_n_epoch=None to count batches over epochs"
        )


def _val_check_interval(trainer: Trainer) -> Any:
    """Return the interval, or `None` if it is a time: the Trainer has no such attribute then."""
    return getattr(trainer, "val_check_interval", None)


@contextmanager
def unchecked_options(trainer: Trainer) -> Iterator[None]:
    """Let the Trainer accept its loaders even if an epoch is too short for its options."""
    limit, interval = trainer.limit_train_batches, _val_check_interval(trainer)
    if isinstance(limit, float) and limit > 0:
        trainer.limit_train_batches = 1.0
    if isinstance(interval, int):
        trainer.val_check_interval = 1.0
    try:
        yield
    finally:
        trainer.limit_train_batches = limit
        if interval is not None:
            trainer.val_check_interval = interval


def restarted_at(trainer: Trainer) -> tuple[int, bool]:
    """Return how many batches of an epoch a checkpoint counts, and whether that epoch is over.

    Without a checkpoint, or with one that was saved between epochs, these are 0 and `False`.
    """
    loop = trainer.fit_loop.epoch_loop
    if not loop.restarting:
        return 0, False
    progress, current = loop.batch_progress, loop.batch_progress.current
    # a checkpoint at the end of a training step is saved before the step counts as completed
    is_step_end = current.processed == current.ready == current.completed + 1
    done = current.ready if is_step_end else current.completed
    return done, progress.is_last_batch and done == current.ready > 0


def count_updated_batch(trainer: Trainer) -> None:
    """Count an epoch's last batch as trained, if an error came between its `update` and its end.

    Then the pruned dataset has no samples left, but the Trainer would train that batch again.
    """
    progress = trainer.fit_loop.epoch_loop.batch_progress
    current = progress.current
    is_in_step = current.started == current.ready == current.processed + 1 > 1
    if trainer.fit_loop.epoch_loop.restarting and progress.is_last_batch and is_in_step:
        progress.increment_processed()


def leave_ended_epoch(trainer: Trainer) -> None:
    """Begin the next epoch if the checkpoint was saved at the very end of one.

    With `max_steps`, Lightning would enter that epoch again and train one more batch.
    """
    loop = trainer.fit_loop
    if getattr(loop, "restarted_on_epoch_end", False):
        loop.epoch_progress.increment_completed()
        loop.epoch_loop.restarting = False
        loop.reset_restart_stage()


def is_planning(trainer: Trainer) -> bool:
    """Return whether a hook of the module reads the length of the whole run, before training."""
    return trainer.lightning_module._current_fx_name in BEFORE_TRAINING
