"""The Batch Loss Score."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch

from ..losses.measurements import Measurements
from ..utils.validation import check_number, check_share
from .base import Score

Initial = float | Literal["first"]

LARGEST = torch.finfo(torch.float32).max


class BLS(Score):
    r"""Batch Loss Score: an exponential moving average of the mean losses of a sample's batches.

    For every sample i of a batch B with mean loss L(B)

        s_i ← α·s_i + (1 − α)·L(B)

    and s_i is `initial` before that. The average is a low-pass filter with impulse response
    (1 − α)·αⁿ: the contribution of a sample's neighbours changes from batch to batch and is damped,
    that of the sample itself recurs every epoch and remains. A loss vector counts as one
    measurement per sample, the means of slices as one measurement per slice.

    Source: Batch Loss Score, arXiv:2604.04681.

    Arguments:
        base: the pruned dataset to score; see `Score`.
        alpha: α, the weight of the old score, in [0, 1); with 0 a score is the last batch's loss.
        initial: the score of a sample before its first batch: "first" for the mean loss of the
            run's first batch, or a number; the published code uses 0.0. It matters while samples
            have few visits and others are skipped: with "first", samples with fewer visits look
            hard, because losses fall; with 0 they look easy. In our measurements (docs/fidelity.md)
            0 orders samples worse in the first epochs and slightly better later, and the final
            models are equally good.

    Raises:
        TypeError: `base` has no length, or `alpha` or `initial` is of another type.
        ValueError: `alpha` lies outside [0, 1), `initial` is another word or not a finite float32
            number.

    Example:
        >>> from dynaprune import BLS, InfoBatch
        >>> train = BLS(InfoBatch(range(1000), num_epochs=10), alpha=0.7).proxy()
        >>> type(train).__name__
        'InfoBatch'
    """

    observes_in_parts: ClassVar[bool] = True

    def __init__(
        self,
        base: Any,
        alpha: float = 0.7,
        *,
        initial: Initial = "first",
    ) -> None:
        super().__init__(base)
        self.alpha = check_share("alpha", alpha)
        self.initial = _check_initial(initial)
        if self.initial != "first":
            self._set_all(self.initial)

    def observe(self, batches: Measurements) -> None:
        """Fold measurements into the scores, all at once; no sample is in two of them."""
        if self.initial == "first":
            self._start(batches)
        new = self._values_of(batches.indices)
        new *= self.alpha
        new += (1 - self.alpha) * batches.per_sample().numpy()
        self._write(batches.indices, new)


def _check_initial(initial: Initial) -> Initial:
    if isinstance(initial, str):
        if initial != "first":
            raise ValueError(
                f'initial must be "first", the mean loss of the first batch, or a number, but '
                f"{initial!r} was given"
            )
        return initial
    number = check_number("initial", initial)
    if abs(number) > LARGEST:
        raise ValueError(
            f"initial must be a number of float32, at most {LARGEST:.3g}, but {initial!r} was given"
        )
    return number
