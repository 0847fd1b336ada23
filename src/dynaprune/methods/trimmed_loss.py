"""Iterative trimmed loss minimisation."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..planning.selection import Selection
from ..pruned_dataset import PrunedDataset
from ..scores.loss_shape import LossShape, share_of_outliers
from ..utils.rng import epoch_generator
from ..utils.sampling import all_indices, nonzero
from ..utils.validation import check_either, check_integer, check_share
from ._budget import SkipBudget, count_share
from ._ranking import highest, some_of

LEAST = 0.05
"""The share below which `trim="auto"` trims nothing yet. Trimmed samples are missing from later
estimates, so the first estimate persists, and small ones are the least reliable."""


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
    arXiv:1804.06872. `start` and `refresh` are ours.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        trim: the share of the samples that is assumed to be wrong, in [0, 1), or "auto" to estimate
            it from the losses once they fall by less than 2% per epoch: the share of outliers
            (`share_of_outliers`), if it is at least 5%. "auto" by default, without `saving`.
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

    extra_inputs: tuple[str, ...] = ("shape",)
    skips_highest: ClassVar[bool] = True

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        trim: float | Literal["auto"] | None = None,
        start: float = 0.25,
        refresh: float = 0.1,
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
        shape: LossShape | None = None,
    ) -> Selection:
        """Keep all but the highest scores, and a few of these, with weight 1."""
        trimmed, skipped = self._counts(scores, shape, epoch)
        if epoch < self._first_trimming_epoch or skipped == 0:
            return Selection(all_indices(scores.numel()))
        worst = highest(scores.numpy(), trimmed, generator)
        return Selection(nonzero(~some_of(worst, skipped, generator)))

    def suspects(self, count: int | None = None) -> Tensor:
        """Return the samples whose labels are most probably wrong: int64, shape (count,).

        The most suspicious comes first, by the scores with everything reported so far; samples
        with equal scores come in random order. For a stream these are numbers as returned by
        `numbers_of`.

        Arguments:
            count: how many, from 0 to N; by default as many as an epoch would trim now.

        Raises:
            TypeError: `count` is no integer.
            ValueError: `count` is below 0 or above N.
            RuntimeError: all scores are equal, so that none stands out.
        """
        score = self.epochs.latest_score()
        scores, total = score.values(), score.num_samples
        if total == 0 or bool((scores == scores[0]).all()):
            raise RuntimeError(
                "suspects() was called, but no sample stands out, because all scores are equal: "
                "train for some epochs first"
            )
        if count is None:
            epoch = max(min(self.epoch, self.num_epochs - 1), self._first_trimming_epoch)
            count, _ = self._counts(scores, score.extras(self.extra_inputs)["shape"], epoch)
        if check_integer("count", count, minimum=0) > total:
            raise ValueError(f"count must be at most {total}, the samples, but {count!r} was given")
        generator = epoch_generator(self.seed, self.epoch, stream=2)
        values = scores.numpy()
        found = np.flatnonzero(highest(values, count, generator))
        found = found[torch.randperm(count, generator=generator, device="cpu").numpy()]
        return torch.from_numpy(found[np.argsort(-values[found], kind="stable")])

    @property
    def _first_trimming_epoch(self) -> int:
        # corrects floating-point errors of products such as 0.55 · 100
        return max(1, math.ceil(self.start * self.num_epochs - 1e-9))

    def _counts(self, scores: Tensor, shape: LossShape | None, epoch: int) -> tuple[int, int]:
        """Return how many samples are assumed to be wrong, and how many of them are skipped."""
        total = scores.numel()
        if self.saving is not None:
            # if a stream is not as long as announced, not all of these can be skipped
            skipped = min(self._spread(self.saving).skipped(epoch, total), self._skippable(total))
            return min(total, math.ceil(skipped / (1 - self.refresh) - 1e-9)), skipped
        if self.trim != "auto":
            share = self.trim
        else:
            share = 0.0 if shape is None else share_of_outliers(shape)
            share = share if share >= LEAST else 0.0
        trimmed = count_share(share, total)
        return trimmed, min(total - 1, trimmed - count_share(self.refresh, trimmed))

    def _skippable(self, total: int) -> int:
        """Return the largest number of samples that an epoch can skip."""
        return min(total - 1, total - math.ceil(self.refresh * total - 1e-9))

    def _spread(self, saving: float) -> SkipBudget:
        return SkipBudget(saving, self.num_epochs, self._first_trimming_epoch, self.num_epochs)


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
