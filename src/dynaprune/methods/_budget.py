"""The number of samples that each epoch skips so that a run saves a given share of its visits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from ..scores.loss_progress import LossProgress
from ..scores.loss_shape import share_of_learned
from ..utils.validation import check_share

if TYPE_CHECKING:
    from ..pruned_dataset import PrunedDataset

Saving: TypeAlias = "float | Literal['auto']"
"""The share of all sample visits of a run to skip, or "auto": as many as the losses allow."""

LOSS_SHARE = 0.05
"""The share of all loss that as many samples hold as `saving="auto"` skips."""

MOST = 0.5
"""The largest share that an epoch skips with `saving="auto"`: a larger estimate is often too high,
because the highest losses are higher than those of a Weibull distribution."""

FASTEST = 0.5
"""The relative fall of the mean loss per epoch from which on nothing is skipped, because the model
still learns much from each visit."""


def automatic_share(progress: LossProgress | None) -> float:
    """Return the share of the samples that an epoch skips with `saving="auto"`, in [0, `MOST`].

    It is the share of the samples that together hold `LOSS_SHARE` of all loss, at most `MOST`,
    times 1 − fall/`FASTEST`. Measured in benchmarks/studies/auto_budget.py.
    """
    if progress is None:
        return 0.0
    slowness = min(1.0, max(0.0, 1 - progress.fall / FASTEST))
    return slowness * min(MOST, share_of_learned(progress.variation, LOSS_SHARE))


def count_share(share: float, total: int) -> int:
    """Return `share` of `total`, rounded half to even, as an integer in [0, total]."""
    return min(total, max(0, round(share * total)))


def first_annealed_epoch(delta: float, num_epochs: int) -> int:
    """Return ⌊δ·E⌋, corrected for floating-point errors of products such as 0.57 · 100."""
    return math.floor(delta * num_epochs + 1e-9)


class Budget(Protocol):
    """The number of samples that each epoch skips."""

    def skipped(self, epoch: int, total: int, progress: LossProgress | None = None) -> int:
        """Return how many of `total` samples an epoch skips.

        Arguments:
            epoch: its number.
            total: N.
            progress: how the losses of batches vary and fall, if it is known; it is needed for
                "auto".
        """

    def check(self, total: int, most: int, full: str, more: str) -> Saving:
        """Return the share, or "auto", if the run can save it.

        Arguments:
            total: the number of samples.
            most: the largest number of them that an epoch can skip.
            full: the epochs that train on everything, in words for the message.
            more: what allows a run to save more, in words for the message.

        Raises:
            TypeError: the share is no number.
            ValueError: it lies outside [0, 1), or is more than can be saved.
        """


@dataclass(frozen=True)
class AutomaticBudget:
    """As many samples as `automatic_share` says, before epoch `end`: a `Budget`."""

    end: int

    def skipped(self, epoch: int, total: int, progress: LossProgress | None = None) -> int:
        return count_share(automatic_share(progress), total) if epoch < self.end else 0

    def check(self, total: int, most: int, full: str, more: str) -> Saving:
        return "auto"


@dataclass(frozen=True)
class SkipBudget:
    """The number of samples that each epoch skips so that a run saves a share of all its visits.

    It is a `Budget`.

    Attributes:
        share: of all visits of the run, including full epochs, in [0, 1).
        num_epochs: the number of epochs of the run.
        first: the first epoch that skips samples.
        end: one past the last epoch that does.
    """

    share: float
    num_epochs: int
    first: int
    end: int

    @property
    def num_selecting(self) -> int:
        """The number of epochs that skip samples."""
        return max(0, self.end - self.first)

    def skipped(self, epoch: int, total: int, progress: LossProgress | None = None) -> int:
        return self._skipped_before(epoch + 1, total) - self._skipped_before(epoch, total)

    def check(self, total: int, most: int, full: str, more: str) -> float:
        share = check_share("saving", self.share)
        visits, reachable = total * self.num_epochs, self.num_selecting * most
        if count_share(share, visits) > reachable:
            num_full = self.num_epochs - self.num_selecting
            skippable = f"can skip at most {most / total:.1%} of the samples"
            why = f"an epoch {skippable}"
            if num_full > 0:
                why = (
                    f"{num_full} of {self.num_epochs} epochs train on everything ({full}), and the "
                    f"others {skippable}"
                )
            raise ValueError(
                f"saving={self.share!r} cannot be reached: {why}. At most "
                f"{reachable / visits:.3f} can be saved{f'; more with {more}' * (num_full > 0)}"
            )
        return share

    def _skipped_before(self, epoch: int, total: int) -> int:
        if self.num_selecting == 0:
            return 0
        done = min(max(epoch - self.first, 0), self.num_selecting)
        return count_share(self.share, total * self.num_epochs) * done // self.num_selecting


def inputs_with(inputs: tuple[str, ...], saving: Saving) -> tuple[str, ...]:
    """Return the `extra_inputs` of a method, with what `saving="auto"` reads."""
    return (*inputs, "progress") if saving == "auto" else inputs


def budget_of(train: PrunedDataset, saving: Saving, end: int | None = None) -> Budget:
    """Return a budget for a run; the first epoch of a stream skips nothing.

    Arguments:
        train: the run's pruned dataset.
        saving: the share of all its visits, or "auto".
        end: one past the last epoch that skips samples; by default one past the last epoch.
    """
    first, num_epochs = train.epochs.source.first_selecting_epoch, train.num_epochs
    last = num_epochs if end is None else end
    if saving == "auto":
        return AutomaticBudget(last)
    return SkipBudget(saving, num_epochs, first, last)
