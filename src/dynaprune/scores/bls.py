"""The Batch Loss Score."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch

from ..losses.measurements import Batches
from ..utils.validation import check_number, check_share
from .base import Score

Initial = float | Literal["first"]

LARGEST = torch.finfo(torch.float32).max


class BLS(Score):
    r"""Batch Loss Score: an exponential moving average of the mean losses of a sample's batches.

    For every sample i of a batch B with mean loss L(B)

        s_i ← α·s_i + (1 − α)·L(B)

    and s_i is `initial` before that. The average is a low-pass filter, with impulse response
    (1 − α)·αⁿ: what a sample's neighbours add changes from batch to batch and is damped, what the
    sample itself adds comes back every epoch and stays. A loss vector is as many measurements of
    single samples, the means of slices are as many of small batches.

    Source: Batch Loss Score, arXiv:2604.04681.

    Arguments:
        base: the pruned dataset to score; see `Score`.
        alpha: α, how much of the old score is kept, in [0, 1); 0 is the last batch's loss.
        initial: the score of a sample before its first batch: "first" for the mean loss of the
            run's first batch, or a number; 0.0 is what the published code has. While samples are
            skipped it matters for as long as they have few visits: from "first" those with fewer
            visits look hard, as losses fall, and from 0 they look easy. In the measurements
            (docs/fidelity.md) 0 orders samples worse in the first epochs and slightly better later,
            and models are equally good.
        dtype: the type in which scores are kept; see `Score`.

    Raises:
        TypeError: `base` has no length, or `alpha` or `initial` is of another type.
        ValueError: `alpha` lies outside [0, 1), `initial` is another word or no finite number of
            float32, or `dtype` is none of those allowed.

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
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(base, dtype=dtype)
        self.alpha = check_share("alpha", alpha)
        self.initial = _check_initial(initial)
        if self.initial != "first":
            self._set_all(self.initial)

    def observe(self, batches: Batches) -> None:
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
