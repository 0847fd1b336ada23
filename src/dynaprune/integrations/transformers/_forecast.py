"""A forecast of a run of pruned epochs: its number of optimizer steps, and where it ends."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler

from ...loading.loader import DataLoader
from ...pruned_dataset import PrunedDataset

SAMPLES = 10_000_000
"""The cost of a forecast: the samples of all epochs that are forecast. At least four epochs are."""

EPOCHS = 32
"""The most epochs that are forecast; those between them are interpolated."""


class Forecast:
    """Estimates at which optimizer step a run ends.

    The current epoch has a plan. For later epochs, the method selects with the current scores.

    Arguments:
        pruned: the pruned dataset.
        loader: the training loader.
        accumulation: the number of batches per optimizer step.
        epochs: the number of epochs that the run trains; it may end within the last one.
    """

    def __init__(
        self, pruned: PrunedDataset, loader: DataLoader, accumulation: int, epochs: Fraction
    ) -> None:
        self.epochs = epochs
        self._pruned = pruned
        self._loader = loader
        self._batches: Any = loader.batch_sampler
        self._accumulation = accumulation
        self._end_of_epoch = 0  # the last step of the epoch
        self._batches_before = 0.0  # batches of the epoch that were trained before a checkpoint
        self._batches_left = 1  # the other batches of the epoch

    def steps_for(self, batches: int) -> int:
        """Return the number of optimizer steps of an epoch with this number of batches."""
        return -(-batches // self._accumulation)

    def expected_steps(self) -> int:
        """Return the expected number of optimizer steps from the start of this epoch on."""
        epoch, last = self._pruned.epoch, math.ceil(self.epochs) - 1
        if epoch > last:
            return 0
        later = range(epoch + 1, last + 1)
        return self._steps_of_this_epoch() + round(self._steps_of(later, self.epochs - last))

    def _steps_of_this_epoch(self) -> int:
        number, done, total = self._pruned.epochs.position.behind_and_total()
        before = Fraction(done, total)
        share_due = (min(Fraction(1), self.epochs - number) - before) / (1 - before)
        samples = math.ceil(share_due * len(self._batches.sampler))
        # rounded up: the run ends with the step that reaches its last sample
        steps = self.steps_for(-(-samples // self._batches.batch_size))
        return max(0, min(steps, self.steps_for(len(self._loader))))

    def _steps_of(self, later: range, share_of_last: Fraction) -> float:
        """Return the expected number of steps of all epochs after this one."""
        if not later:
            return 0.0
        pruned = self._pruned
        count = min(len(later), max(4, min(EPOCHS, SAMPLES // len(pruned))))
        chosen = np.linspace(later[0], later[-1], count).round().astype(int).tolist()
        steps = []
        for epoch in chosen:
            kept = pruned.next_selection(min(epoch, pruned.num_epochs - 1)).indices.numel()
            steps.append(self.steps_for(self._batches_of(kept)))
        per_epoch = np.interp(later, chosen, steps)
        per_epoch[-1] *= float(share_of_last)
        return float(per_epoch.sum())

    def _batches_of(self, kept: int) -> int:
        """Return the expected number of batches of an epoch that keeps this number of samples."""
        batches = self._batches
        if type(batches) is not BatchSampler:  # it groups samples, or leaves some out
            return round(self._loader.batches_per_full_epoch * kept / len(self._pruned))
        samples = -(-kept // self._pruned.epochs.ranks.size)
        missing = 0 if batches.drop_last else batches.batch_size - 1
        return int((samples + missing) // batches.batch_size)

    def begin_epoch(self, step: int, batches: int) -> None:
        """Record where an epoch begins, or continues after a checkpoint.

        Arguments:
            step: the number of optimizer steps made before it.
            batches: the number of batches that it has yet to serve.
        """
        epochs = self._pruned.epochs
        self._batches_before = epochs.progress.visits / (
            epochs.ranks.size * self._batches.batch_size
        )
        self._batches_left = batches
        self._end_of_epoch = step + self.steps_for(batches)

    def ends_after(self, step: int, reached: Fraction) -> bool:
        """Return whether the run is over after a step.

        Arguments:
            step: its number, from 1.
            reached: the number of epochs of full training that the run has reached after it.
        """
        is_last_epoch = self._pruned.epochs.number + 1 >= self.epochs
        return reached >= self.epochs or (is_last_epoch and step >= self._end_of_epoch)

    def leaves_no_batch(self) -> bool:
        """Return whether the rest of the current epoch is too small for another batch."""
        due = self._pruned.epochs.position.samples_due()
        return bool(self._batches.drop_last and due < self._batches.batch_size)

    def position(self, epoch: float) -> float:
        """Return the run's position in epochs, 2.5 in the middle of the third.

        Arguments:
            epoch: the Trainer's position, which takes the batches after a checkpoint for a whole
                epoch.
        """
        if self._batches_before == 0:
            return epoch
        number = self._pruned.epochs.number
        done = round((epoch - number) * self._batches_left)
        before = self._batches_before
        return number + (before + done) / (before + self._batches_left)
