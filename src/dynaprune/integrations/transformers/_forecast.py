"""A forecast of a run of pruned epochs: its number of optimizer steps, and where it ends."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

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
        samples = math.ceil(share_due * len(self._loader.sampler))  # type: ignore[arg-type]
        # rounded up: the run ends with the step that reaches its last sample
        steps = self.steps_for(-(-samples // self._batch_size))
        return max(0, min(steps, self.steps_for(len(self._loader))))

    def _steps_of(self, later: range, share_of_last: Fraction) -> float:
        """Return the expected number of steps of all epochs after this one."""
        if not later:
            return 0.0
        pruned, ranks = self._pruned, self._pruned.epochs.ranks.size
        count = min(len(later), max(4, min(EPOCHS, SAMPLES // len(pruned))))
        chosen = np.linspace(later[0], later[-1], count).round().astype(int).tolist()
        steps = []
        for epoch in chosen:
            kept = pruned.next_selection(min(epoch, pruned.num_epochs - 1)).indices.numel()
            samples = -(-kept // ranks)
            steps.append(self.steps_for(self._batches_of(samples)))
        per_epoch = np.interp(later, chosen, steps)
        per_epoch[-1] *= float(share_of_last)
        return float(per_epoch.sum())

    def _batches_of(self, samples: int) -> int:
        return (samples if self._loader.drop_last else samples + self._batch_size - 1) // (
            self._batch_size
        )

    @property
    def _batch_size(self) -> int:
        return self._loader.batch_size or 1

    def begin_epoch(self, step: int, batches: int) -> None:
        """Record where an epoch begins, or continues after a checkpoint.

        Arguments:
            step: the number of optimizer steps made before it.
            batches: the number of batches that it has yet to serve.
        """
        epochs = self._pruned.epochs
        self._batches_before = epochs.progress.visits / (epochs.ranks.size * self._batch_size)
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
        return self._loader.drop_last and due < self._batch_size

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
