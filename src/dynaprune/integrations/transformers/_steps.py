"""The optimizer steps of a run of pruned epochs, as the Trainer's state and progress bars show.

The Trainer stops at `state.max_steps`, which it computes once, for full epochs. Here it is
estimated before each epoch and corrected before each step, so that the run ends when all epochs
were trained.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from ...loading.loader import DataLoader
from ...loading.lr_scheduler import PrunedScheduler
from ...pruned_dataset import PrunedDataset
from ._forecast import Forecast

INTERVALS = ("logging_steps", "eval_steps", "save_steps")
"""Options of the Trainer that may be given as a share of the run, below 1."""

BARS = ("training_bar", "training_tracker")
"""Where ProgressCallback and NotebookProgressCallback have their progress bars."""


class RunSteps:
    """Keeps the last step of a run up to date in the Trainer.

    Arguments:
        trainer: the Trainer.
        loader: its training loader.
        accumulation: the number of batches per optimizer step.
        max_steps: the number of steps of full training.

    Attributes:
        per_full_epoch: the number of steps of an epoch that skips nothing.
    """

    def __init__(self, trainer: Any, loader: DataLoader, accumulation: int, max_steps: int) -> None:
        self.per_full_epoch = max(1, -(-loader.batches_per_full_epoch // accumulation))
        self._trainer = trainer
        self._pruned: PrunedDataset = trainer.pruned
        epochs = Fraction(max_steps, self.per_full_epoch)
        self._forecast = Forecast(self._pruned, loader, accumulation, epochs)

    def begin_epoch(self, batches: int) -> int:
        """Return the number of steps of the epoch that begins, or continues after a checkpoint.

        Arguments:
            batches: the number of batches that it has yet to serve.
        """
        self._forecast.begin_epoch(self._trainer.state.global_step, batches)
        return self._forecast.steps_for(batches)

    def estimate_end(self) -> None:
        """Before an epoch, set the step at which the run is expected to end."""
        state, args = self._trainer.state, self._trainer.args
        self._set_end(state.global_step + self._forecast.expected_steps())
        for name in INTERVALS:
            given = getattr(args, name)
            if given is not None and given < 1:
                setattr(state, name, math.ceil(state.max_steps * given))

    def decide_end(self) -> None:
        """Before a step ends, make it the last one if and only if the run ends with it."""
        state = self._trainer.state
        step = state.global_step + 1
        is_last = self._forecast.ends_after(step, self._epochs_after_step())
        self._set_end(step if is_last else max(state.max_steps, step + 1))

    def position(self, epoch: float) -> float:
        """Return the run's position in epochs, given that of the Trainer."""
        return self._forecast.position(epoch)

    def leaves_no_batch(self) -> bool:
        """Return whether the rest of the current epoch is too small for another batch."""
        return self._forecast.leaves_no_batch()

    def _epochs_after_step(self) -> Fraction:
        """Return how many epochs of full training the run has reached after the current step."""
        scheduler = self._trainer.lr_scheduler
        if isinstance(scheduler, PrunedScheduler):  # rounded to a step of full training
            return Fraction(scheduler.steps_after_next(), scheduler.steps_per_full_epoch)
        number, done, total = self._pruned.epochs.position.behind_and_total()
        return number + Fraction(done, total)

    def _set_end(self, max_steps: int) -> None:
        """Set the last step in the Trainer's state and in its progress bars."""
        self._trainer.state.max_steps = max_steps
        for callback in self._trainer.callback_handler.callbacks:
            for name in BARS:
                bar: Any = getattr(callback, name, None)
                if hasattr(bar, "total"):
                    bar.total = max_steps
