"""Iterative trimmed loss minimisation."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..planning.selection import Selection
from ..pruned_dataset import PrunedDataset
from ..scores.loss_trends import Unlearned
from ..utils.sampling import all_indices, nonzero
from ..utils.validation import check_either, check_share
from ._budget import SkipBudget, count_share
from ._ranking import highest, some_of

START, REFRESH = 0.25, 0.1
"""The part of the run that trains on everything, and the share of the trimmed samples that is
trained on, by default."""

LEAST = 0.05
"""The share below which `trim="auto"` trims nothing yet. Trimmed samples are missing from later
estimates, so the first estimate persists, and small ones are the least reliable."""

DECIDED = 0.4
"""The part of the run after which `trim="auto"` may trim. Earlier, the losses of hard and of rare
samples have not begun to fall: at a quarter of the run, two of 14 clean CIFAR-10 runs looked wrong,
and at two fifths none."""

MOST = 0.5
"""The largest share that is trimmed: losses cannot tell which of two halves is the wrong one."""


class TrimmedLoss(PrunedDataset):
    """Skips the samples with the highest scores, whose labels are most probably wrong.

    A model learns what most samples have in common before it memorizes a wrong label, so after
    some epochs the samples with wrong labels have the highest losses. From epoch ⌈start·E⌉ on (but
    not before the second one), the share `trim` of all samples with the highest scores is skipped,
    except for a random share `refresh` of these, which is trained on: so their scores stay up to
    date, and a sample that was trimmed by mistake returns. All weights are 1.

    A run of E epochs saves (1 − ⌈start·E⌉/E) · trim · (1 − refresh) of its sample visits.

    Source: Shen & Sanghavi, "Learning with Bad Training Data via Iterative Trimmed Loss
    Minimization", arXiv:1810.11874, algorithm 1; the small-loss trick of Co-teaching,
    arXiv:1804.06872. "auto", `start` and `refresh` are ours.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        trim: the share of the samples that is assumed to be wrong, in [0, 1), or "auto" for the
            share whose losses stay high while those of the others fall (`LossTrends`): one standard
            error less than the estimate, if that is at least 5%, from two fifths of the run on. It
            needs losses of single samples, or of slices of at most 8. "auto" by default, without
            `saving`.
        start: the share of the run that trains on everything first, in [0, 1].
        refresh: the share of the samples with the highest scores that is trained on, in [0, 1).
        saving: instead of `trim`, the share of all sample visits of the run to skip, including full
            epochs. A run of E complete epochs meets it exactly.
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument lies outside its range, both `trim` and `saving` are given, or
            `saving` cannot be reached in this number of epochs.

    Example:
        >>> from dynaprune import BLS, DataLoader, TrimmedLoss
        >>> import torch
        >>> is_wrong = torch.arange(100) % 20 == 0
        >>> train = BLS(TrimmedLoss(is_wrong.float(), num_epochs=8, trim=0.05)).proxy()
        >>> loader = DataLoader(train, batch_size=1)
        >>> for epoch in range(2):
        ...     for loss in loader:
        ...         loss = train.update(loss.mean())
        >>> len(loader)  # from epoch ⌈0.25 · 8⌉ on, five are trimmed; a tenth of five rounds to 0
        95
        >>> sorted(train.suspects().tolist())
        [0, 20, 40, 60, 80]
    """

    # It selects by scores, not by the mean excess by which `suspects` ranks: what is trimmed is not
    # memorized, so its last loss knows more, and what was trimmed by mistake returns sooner.
    extra_inputs: tuple[str, ...] = ("trends",)
    skips_highest: ClassVar[bool] = True

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        trim: float | Literal["auto"] | None = None,
        start: float = START,
        refresh: float = REFRESH,
        saving: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, seed=seed)
        check_either("trim", trim, "saving", saving)
        self.trim = _check_trim("auto" if trim is None else trim)
        self.start = check_share("start", start, "[0, 1]")
        self.refresh = check_share("refresh", refresh)
        self.saving: float | None = None
        if saving is not None:
            total = self.epochs.source.announced_samples
            self.saving = self._spread(saving).check(
                total,
                most=self._skippable(total),
                full=f"the first ones, by start={self.start}",
                more="a smaller start or refresh",
            )

    def select(
        self,
        scores: Tensor,
        epoch: int,
        generator: torch.Generator,
        trends: Unlearned | None = None,
    ) -> Selection:
        """Keep all but the highest scores, and a few of these, with weight 1."""
        trimmed, skipped = self._counts(scores.numel(), trends, epoch)
        if epoch < self._first_trimming_epoch or skipped == 0:
            return Selection(all_indices(scores.numel()))
        worst = highest(scores.numpy(), trimmed, generator)
        return Selection(nonzero(~some_of(worst, skipped, generator)))

    def suspects(self, count: int | None = None) -> Tensor:
        """Return the samples whose labels are most probably wrong: int64, shape (count,).

        See `PrunedDataset.suspects`; by default as many as an epoch would trim now.
        """
        if count is None:
            score = self.epochs.latest_score()
            epoch = max(min(self.epoch, self.num_epochs - 1), self._first_trimming_epoch)
            trends = score.extras(self.extra_inputs)["trends"]
            count, _ = self._counts(score.num_samples, trends, epoch)
        return super().suspects(count)

    @property
    def _first_trimming_epoch(self) -> int:
        return first_trimming_epoch(self.start, self.num_epochs)

    def _counts(self, total: int, trends: Unlearned | None, epoch: int) -> tuple[int, int]:
        """Return how many samples are assumed to be wrong, and how many of them are skipped."""
        if self.saving is not None:
            # if a stream is not as long as announced, not all of these can be skipped
            skipped = min(self._spread(self.saving).skipped(epoch, total), self._skippable(total))
            return min(total, math.ceil(skipped / (1 - self.refresh) - 1e-9)), skipped
        share = self._found(trends, epoch) if self.trim == "auto" else self.trim
        trimmed = count_share(share, total)
        return trimmed, min(total - 1, trimmed - count_share(self.refresh, trimmed))

    def _found(self, trends: Unlearned | None, epoch: int) -> float:
        """Return the share that "auto" trims."""
        if trends is None or epoch < DECIDED * self.num_epochs:
            return 0.0
        share = min(MOST, trends.share - trends.error)
        return share if share >= max(LEAST, trends.error) else 0.0

    def _skippable(self, total: int) -> int:
        """Return the largest number of samples that an epoch can skip."""
        return min(total - 1, total - math.ceil(self.refresh * total - 1e-9))

    def _spread(self, saving: float) -> SkipBudget:
        return SkipBudget(saving, self.num_epochs, self._first_trimming_epoch, self.num_epochs)


def first_trimming_epoch(start: float, num_epochs: int) -> int:
    """Return the first epoch that skips samples, if the part `start` of a run skips none."""
    # corrects floating-point errors of products such as 0.55 · 100
    return max(1, math.ceil(start * num_epochs - 1e-9))


def _check_trim(trim: float | str) -> float | Literal["auto"]:
    """Return `trim` if it is a share or "auto".

    Raises:
        TypeError: it is neither a number nor a string.
        ValueError: it is another string, or outside [0, 1).
    """
    if isinstance(trim, str):
        if trim != "auto":
            raise ValueError(f'trim must be "auto" or a share in [0, 1), but {trim!r} was given')
        return "auto"
    return check_share("trim", trim)
