"""The base class of methods that skip a share of the samples in each epoch, known in advance."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..planning.selection import Selection
from ..pruned_dataset import PrunedDataset
from ..utils.sampling import nonzero
from ._budget import MOST, Saving, SkipBudget, budget_of, inputs_with


class ExactShare(PrunedDataset):
    """Skips the share `saving` of all sample visits of the run; the kept samples have weight 1.

    A subclass implements `_choose`, which gets the number of samples to keep.

    Arguments:
        dataset: see `PrunedDataset`.
        num_epochs: E.
        saving: the share of all sample visits of the run to skip, in [0, 1), or "auto".
        seed: see `PrunedDataset`.

    Raises:
        TypeError: an argument is no number.
        ValueError: `saving` lies outside [0, 1), or cannot be reached in this number of epochs.
    """

    def __init__(
        self, dataset: Any, num_epochs: int, *, saving: Saving = 0.5, seed: int = 0
    ) -> None:
        super().__init__(dataset, num_epochs, seed=seed)
        total = self.epochs.source.announced_samples
        self._budget = budget_of(self, saving)
        self.saving = self._budget.check(total, total - 1, "the first of a stream", "more epochs")
        self.extra_inputs = inputs_with(self.extra_inputs, self.saving)

    @property
    def _skipped_share(self) -> float:
        """The largest share of the samples that an epoch skips: more than `saving` of a stream."""
        if not isinstance(self._budget, SkipBudget):
            return MOST
        return self._budget.share * self.num_epochs / max(1, self._budget.num_selecting)

    def select(
        self, scores: Tensor, epoch: int, generator: torch.Generator, **extra_inputs: Any
    ) -> Selection:
        """Keep as many samples as `saving` leaves to the epoch, at least one, with weight 1."""
        kept = self._num_kept(scores.numel(), epoch, **extra_inputs)
        return Selection(nonzero(self._choose(scores.numpy(), kept, generator, **extra_inputs)))

    @abstractmethod
    def _choose(
        self,
        scores: NDArray[np.float32],
        kept: int,
        generator: torch.Generator,
        **extra_inputs: Any,
    ) -> NDArray[np.bool_]:
        """Return a mask of the `kept` samples to keep, shape (N,).

        Arguments:
            scores: shape (N,). Not to be written.
            kept: how many, from 1 to N.
            generator: the source of all randomness.
            extra_inputs: what the method's `extra_inputs` names.
        """

    def _num_kept(self, total: int, epoch: int, **extra_inputs: Any) -> int:
        return max(1, total - self._budget.skipped(epoch, total, extra_inputs.get("progress")))
