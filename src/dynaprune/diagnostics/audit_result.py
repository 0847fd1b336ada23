"""The result of an audit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .advice import advise
from .estimates import Estimate


@dataclass(frozen=True)
class Audit:
    """The result of `audit`; `print` shows it, with advice.

    Attributes:
        num_samples: the number of samples whose true losses were measured.
        left_out: the number of further samples whose losses were not finite.
        seconds: the wall-clock time of the audit.
        correlation: Spearman's rank correlation of scores and true losses.
        reliability: `train.reliability`, the estimate of it without an extra pass.
        precision: of the samples that score below the mean of all scores, the share whose true
            loss is below the mean true loss; NaN if there are none.
        base_rate: the share of all samples whose true loss is below the mean: the precision of
            random scores.
        kept_share: the share of all samples that the coming epoch would keep.
        saved_share: the share of all sample visits that were avoided so far.
        skipped_loss_ratio: the mean true loss of the samples that epoch `planned_epoch` would
            skip, over that of all samples; it is 1 for random pruning.
        planned_epoch: the coming epoch. If that would skip nothing, like the first and the last
            ones, it is an epoch that would with the current scores: the middle one of the run, its
            last or its second.
        class_sizes: how many samples the largest and the smallest class have; `None` if the
            classes are not known.
        hardest: how many of the measured samples are in the hardest tenth of their class, by true
            loss; of all samples, if the classes are not known.
        hardest_kept: the share of them that epoch `planned_epoch` would keep; NaN if there are
            none.
        would_keep: the share of all samples that epoch `planned_epoch` would keep.
        learned_share: the share of the samples, those with the lowest losses, that together hold 5%
            of the loss of all: visits to them are wasted. NaN if losses are 0 or below.
        outlier_share: the share of the samples in a separate group with higher losses; see
            `wrong_share`.
        skips_highest: whether the method is meant to skip the samples with the highest scores.
        method: the name of the method's class.
        score: the name of the score's class.
        saving: the `saving` that the method was given; `None` if it was given none.
        samples_a_loss: the mean number of samples per measured loss in the last epoch: 1 for
            per-sample losses; NaN if nothing was measured yet.
        indices: int64, shape (num_samples,): which samples were measured.
        losses: float64, shape (num_samples,): their true losses.
    """

    num_samples: int
    left_out: int
    seconds: float
    correlation: Estimate
    reliability: float
    precision: float
    base_rate: float
    kept_share: float
    saved_share: float
    skipped_loss_ratio: Estimate
    planned_epoch: int
    class_sizes: tuple[int, int] | None
    hardest: int
    hardest_kept: float
    would_keep: float
    learned_share: float
    outlier_share: float
    skips_highest: bool
    method: str
    score: str
    saving: float | str | None
    samples_a_loss: float
    indices: NDArray[np.int64] = field(repr=False, compare=False)
    losses: NDArray[np.float64] = field(repr=False, compare=False)

    @property
    def advice(self) -> list[str]:
        """Advice that follows from the result, in plain sentences."""
        return advise(self)

    def rows(self) -> list[tuple[str, str]]:
        """Return the result as names and values."""
        left_out = f"; {self.left_out:,} losses were not finite" if self.left_out else ""
        return [
            ("true losses measured", f"{self.num_samples:,} in {self.seconds:.1f} s{left_out}"),
            ("rank correlation of scores and true losses", str(self.correlation)),
            ("the same, estimated from batches alone", _number(self.reliability)),
            (
                "of those below the mean score, below the mean loss",
                f"{_percent(self.precision)} (of all samples: {_percent(self.base_rate)})",
            ),
            (
                "the coming epoch keeps",
                f"{_percent(self.kept_share)} of the samples; {_percent(self.saved_share)} of "
                "visits saved so far",
            ),
            (
                f"mean loss of those that epoch {self.planned_epoch} skips, over that of all",
                str(self.skipped_loss_ratio),
            ),
            (
                f"of the hardest tenth of each class, epoch {self.planned_epoch} keeps",
                f"{_percent(self.hardest_kept)} (of all samples: {_percent(self.would_keep)})",
            ),
            ("samples of the largest and the smallest class", _sizes(self.class_sizes)),
            ("lowest losses, which make up 5% of all loss", _percent(self.learned_share)),
            ("a group with distinctly higher losses", _percent(self.outlier_share)),
        ]

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.rows())
        lines = [f"{name:<{width}}  {value}" for name, value in self.rows()]
        return "\n".join(lines + [f"- {sentence}" for sentence in self.advice])


def _number(value: float) -> str:
    return "not known" if math.isnan(value) else f"{value:.2f}"


def _sizes(sizes: tuple[int, int] | None) -> str:
    if sizes is None:
        return "not known; audit(..., labels=) looks for rare ones"
    return f"{sizes[0]:,} and {sizes[1]:,}"


def _percent(share: float) -> str:
    return "not known" if math.isnan(share) else f"{share:.1%}"
