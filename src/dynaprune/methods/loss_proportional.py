"""Samples drawn in proportion to a power of their loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..planning.selection import Selection
from ..utils.sampling import take
from ..utils.validation import check_number, check_share
from ._budget import Saving
from ._exact_share import ExactShare
from ._unequal import SMALLEST, drawn, inclusion_probabilities


class LossProportional(ExactShare):
    """Keeps samples with a probability proportional to a power of their loss, plus a constant.

    The probability of a sample with score s is proportional to s^power + floor·mean(s^power), where
    no probability exceeds 1. Samples that were never measured count as the mean, so in the first
    epoch a uniform share is kept. It is for fits, where targets have no noise and a high loss says
    where the model is not yet accurate: images and shapes as coordinate networks, collocation
    points of differential equations, surrogates of simulators (docs/fits.md). Noise and wrong
    labels have high losses, too, and are then visited most.

    Weights are 1, so a fit spends more of its steps where losses are high. With `correction` w, a
    sample kept with probability p has a weight proportional to p^−w, with a mean of 1 over the kept
    samples. So correction changes the proportions of the samples and not the size of a step, and
    with w = 1 the expected gradient of a step is approximately that of full training.

    Source: the residual-based adaptive distribution (RAD) of Wu et al., arXiv:2207.10289, here over
    the samples of a data set and without replacement. Its residuals are roots of squared losses, so
    its k = 1 and c = 1 are power 0.5 and floor 1, and its k = 2 is power 1. The correction is that
    of soft mining, arXiv:2312.00075.

    Arguments:
        dataset: a map-style dataset of N samples.
        num_epochs: the number of epochs E that the run will train.
        saving: the share of all sample visits of the run to skip, in [0, 1); a run of E complete
            epochs meets it exactly, if at least one sample is kept in each epoch. The first epoch
            of a stream skips nothing, because its samples are not known yet; the others skip more
            to make up for it.
            "auto" skips as much as the losses of batches allow (see `RandomPrune`).
        power: of the loss, at least 0; at 0 it is `RandomPrune`. With squared errors, 0.5 is in
            proportion to the error itself.
        floor: how much of the mean is added to each sample's share, at least 0. A sample without
            loss has floor/(1 + floor) of the average probability; with a floor of 0 it is hardly
            ever visited again.
        correction: w, in [0, 1].
        seed: fixes the samples of each epoch and their order.

    Raises:
        TypeError: an argument is no number, and `saving` is not "auto".
        ValueError: an argument lies outside its range, or `saving` cannot be reached in this number
            of epochs.
        RuntimeError: when an epoch is planned, a score is below 0, so that it has no power.

    Example:
        >>> import torch
        >>> from dynaprune.methods import LossProportional
        >>> x = torch.linspace(-1, 1, 1000)
        >>> train = LossProportional(x, num_epochs=10, saving=0.5)
        >>> for indices in train.batches(100):
        ...     loss = train.update((x[indices].abs() - 0.5).square())
        >>> len(train.sampler)
        500
    """

    extra_inputs: tuple[str, ...] = ("visits",)

    def __init__(
        self,
        dataset: Any,
        num_epochs: int,
        *,
        saving: Saving = 0.5,
        power: float = 0.5,
        floor: float = 0.3,
        correction: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, num_epochs, saving=saving, seed=seed)
        self.power = check_number("power", power, minimum=0)
        self.floor = check_number("floor", floor, minimum=0)
        self.correction = check_share("correction", correction, "[0, 1]")

    def select(
        self, scores: Tensor, epoch: int, generator: torch.Generator, **extra_inputs: Any
    ) -> Selection:
        """Keep as many samples as `saving` leaves to the epoch, with corrected weights."""
        kept = super().select(scores, epoch, generator, **extra_inputs)
        if self.correction == 0:
            return kept
        chances = self._chances(scores.numpy(), len(kept.indices), extra_inputs["visits"])
        weights = take(chances, kept.indices) ** -self.correction
        weights /= weights.mean()
        return Selection(kept.indices, torch.from_numpy(weights.astype(np.float32)))

    def _choose(
        self,
        scores: NDArray[np.float32],
        kept: int,
        generator: torch.Generator,
        **extra_inputs: Any,
    ) -> NDArray[np.bool_]:
        return drawn(self._chances(scores, kept, extra_inputs["visits"]), kept, generator)

    def _chances(
        self, scores: NDArray[np.float32], kept: int, visits: Tensor
    ) -> NDArray[np.float32]:
        """Return the probabilities with which samples are kept; they sum to `kept`: shape (N,)."""
        sizes = odds(scores, visits.numpy() > 0, self.power, self.floor)
        return inclusion_probabilities(sizes, kept)


def odds(
    scores: NDArray[np.float32], is_seen: NDArray[np.bool_], power: float, floor: float
) -> NDArray[np.float32]:
    """Return s^power + floor·mean(s^power), in units of the mean, and positive: shape (N,).

    Arguments:
        scores: shape (N,).
        is_seen: whether each was measured; others count as the mean. Shape (N,).
        power: of the scores, at least 0.
        floor: the multiple of the mean that is added, at least 0.

    Raises:
        RuntimeError: a score is below 0.
    """
    lowest = float(scores.min())
    if lowest < 0:
        raise RuntimeError(
            f"LossProportional draws samples by a power of their loss, so losses must be at least "
            f"0, but a score of {lowest:.4g} was found: add a constant to the loss that keeps it "
            "above 0, or use SelectiveBackprop, which only needs the order of the losses"
        )
    is_unseen = ~is_seen
    # in place and by `where`: new arrays and random masks take longer than what is computed
    sizes: NDArray[np.float32] = scores.copy()
    np.copyto(sizes, 0, where=is_unseen)
    highest = sizes.max()
    if highest > 0:
        if power > 1:
            sizes /= highest  # no power of it is too large
        sizes **= power
        np.copyto(sizes, 0, where=is_unseen)  # a power of 0 makes it 1
        sizes /= sizes.sum(dtype=np.float64) / np.count_nonzero(is_seen)
        np.copyto(sizes, 1, where=is_unseen)
    else:
        sizes.fill(1)
    sizes += floor
    np.maximum(sizes, SMALLEST, out=sizes)  # for a floor of 0
    return sizes
