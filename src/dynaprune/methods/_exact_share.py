"""The base class of methods whose number of skipped samples per epoch is known in advance."""

from __future__ import annotations

from typing import Any, Literal

from ..pruned_dataset import PrunedDataset
from ..scores.loss_progress import LossProgress
from ..utils.validation import check_either, check_share
from ._budget import Saving, automatic_share, count_share, count_share_of_epoch


class ExactShare(PrunedDataset):
    """Skips `prune_ratio` of the samples in each epoch, or `saving` of all visits of the run.

    Arguments:
        dataset: see `PrunedDataset`.
        num_epochs: E.
        prune_ratio: the share of the samples that an epoch skips, in [0, 1); 0.5 if neither it nor
            `saving` is given.
        saving: instead of `prune_ratio`, the share of all sample visits of the run, in [0, 1); or
            "auto", for methods that read `progress`.
        seed: see `PrunedDataset`.
    """

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        prune_ratio: float | None,
        saving: float | Literal["auto"] | None,
        seed: int,
    ) -> None:
        super().__init__(dataset, num_epochs, seed=seed)
        check_either("prune_ratio", prune_ratio, "saving", saving)
        self.saving: float | Literal["auto"] | None = None
        if saving is None:
            ratio = check_share("prune_ratio", 0.5 if prune_ratio is None else prune_ratio)
        elif isinstance(saving, str):
            self.saving, ratio = self._check_automatic(saving), 0.0  # losses tell what is skipped
        else:
            total = self._length_as_said()
            spread = self._spread(saving)
            share = spread.check(total, total - 1, "the first of a stream", "more epochs")
            self.saving, ratio = share, share * num_epochs / max(1, spread.num_selecting)
        self.prune_ratio = ratio

    def _num_kept(self, total: int, epoch: int, progress: LossProgress | None = None) -> int:
        """Return how many of all samples an epoch keeps, at least one."""
        if self.saving == "auto":
            return max(1, total - count_share(automatic_share(progress), total))
        if self.saving is None:
            return max(1, count_share_of_epoch(1 - self.prune_ratio, total, epoch))
        return max(1, total - self._spread(self.saving).skipped(epoch, total))

    def _check_automatic(self, saving: str) -> Literal["auto"]:
        """Return "auto" if that was given, and the method can do it.

        Raises:
            TypeError: it cannot, or another string was given.
        """
        if saving == "auto" and "progress" in self.extra_inputs:
            return "auto"
        allowed = 'a number or "auto"' if "progress" in self.extra_inputs else "a number"
        raise TypeError(f"saving must be {allowed}, but {saving!r} was given")

    def _spread(self, saving: float) -> Saving:
        return Saving(saving, self.num_epochs, 1 if self.is_stream else 0, self.num_epochs)
