"""The mean excess of each sample: its losses over the whole run, compared with those of others."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..losses.measurements import Measurements
from ..utils.sampling import take
from ..utils.validation import check_count, check_finite, check_keys, check_tensor
from .filtering import corrected, spread_among
from .windows import Numbers, Windows, means

PRECISION = 2.0
"""The weight of a visit in the first epoch, relative to what is known without any: nothing but that
excesses have variance 1."""

EXPECTED, UNSURE = 0.5, 0.2
"""The share of the variance of losses that stays with the samples, if an epoch has too few
measurements to tell it, and the standard deviation of that guess."""

LEAST, MOST = 0.05, 0.95
"""The bounds of that share: no epoch counts for nothing, and none for all others together."""

LARGEST_SPREAD = 4.0
"""The largest spread of an epoch's losses, relative to that of the first epoch: a few steps that
diverge must not outweigh the run."""

FEWEST = 2
"""Fewest measurements in an epoch that are compared with each other."""


class MeanExcess:
    r"""The mean of each sample's excess over its visits, float32, shape (N,); 8 bytes a sample.

    Wrong labels have high losses early in a run, and are memorized late in it. So the last loss
    forgets them, and the mean over the run does not. Where the model cannot memorize, it is the
    other way round: late losses tell most. So each epoch e counts by what it tells,

        ω_e = 2·(ρ_e / (1 − ρ_e) · σ_e / σ_0)²

    where ρ_e is the share of the variance of losses that stays with the samples: the squared
    correlation of the epoch's losses with the mean excess before it; and σ_e is the spread of
    losses, from the 10% to the 90% quantile. Losses are compared as normal scores, in windows of
    neighbouring steps (`Windows`), so their scale and level do not matter, nor when a sample was
    visited. A batch measures the mean excess of its samples: the filter of `KalmanBLS`, with a
    noise of variance 1/ω_e and without drift. A loss vector makes it a weighted mean.

    On CIFAR-10 and CIFAR-10N it ranks wrong labels as well as the margin averaged over the run
    (AUM), with models that memorize labels and with others; see docs/wrong-labels.md.

    Arguments:
        num_samples: N.
    """

    def __init__(self, num_samples: int) -> None:
        self._excess = np.zeros(num_samples, dtype=np.float32)
        self._variances = np.ones(num_samples, dtype=np.float32)
        self._num_epochs = 0
        self._first_spread = 0.0

    @property
    def values(self) -> NDArray[np.float32]:
        """The mean excess in standard deviations, shape (N,); 0 before the first visit.

        Do not write to it.
        """
        return self._excess

    def fold(self, batches: Measurements) -> None:
        """Fold in the measurements of an epoch; all losses are finite."""
        if len(batches) < FEWEST:
            return
        sizes = batches.sizes.numpy()
        windows = Windows(sizes)
        deviations = windows.deviations(batches.losses.numpy().astype(np.float64))
        spread = _spread(deviations)
        if spread == 0:
            return
        measured = windows.measured(deviations)
        excess = take(self._excess, batches.indices)
        centre = float(excess.mean(dtype=np.float64))
        expected = (means(excess, sizes) - centre) * np.sqrt(sizes)
        noise = 1 / self._precision(measured, expected, batches, spread)
        unit = spread_among(batches.indices, self._excess, self._variances)
        found = (unit * measured / np.sqrt(sizes) + centre).astype(np.float32)
        for part in replace(batches, losses=torch.from_numpy(found)).disjoint(in_parts=True):
            places = part.indices.numpy()
            self._excess[places], self._variances[places] = corrected(
                take(self._excess, part.indices),
                take(self._variances, part.indices),
                part.sizes.numpy(),
                part.losses.numpy().astype(np.float64),
                noise,
            )
        self._num_epochs += 1

    def grow(self, places: NDArray[np.int64], num_samples: int) -> None:
        """Make room for more samples; existing ones move to `places`, shape (N,)."""
        for name, start in (("_excess", 0.0), ("_variances", 1.0)):
            grown = np.full(num_samples, start, dtype=np.float32)
            grown[places] = getattr(self, name)
            setattr(self, name, grown)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` restores it."""
        return {
            "values": torch.tensor(self._excess, device="cpu"),
            "variances": torch.tensor(self._variances, device="cpu"),
            "num_epochs": self._num_epochs,
            "first_spread": self._first_spread,
        }

    def load_state_dict(self, state: Any, num_samples: int) -> None:
        """Restore what `state_dict` returned, for N = `num_samples`.

        Raises:
            RuntimeError: the state is incomplete or damaged, or of another number of samples.
        """
        name = "the state's mean_excess"
        check_keys(state, ("values", "variances", "num_epochs", "first_spread"), name)
        shape = (num_samples,)
        excess = check_tensor("mean_excess's values", state["values"], shape, torch.float32)
        variances = check_tensor(
            "mean_excess's variances", state["variances"], shape, torch.float32
        ).numpy()
        is_finite = bool(np.isfinite(excess.numpy()).all())
        if not is_finite or not ((variances > 0) & (variances <= 1)).all():
            raise RuntimeError(
                "the state is damaged: its mean_excess must be finite, with variances above 0 and "
                "at most 1"
            )
        num_epochs = check_count("mean_excess's num_epochs", state["num_epochs"])
        first_spread = check_finite("mean_excess's first_spread", state["first_spread"], minimum=0)
        if (num_epochs > 0) != (first_spread > 0):
            raise RuntimeError(
                f"the state is damaged: its mean_excess has {num_epochs} epochs, but a first "
                f"spread of {first_spread}"
            )
        self._excess, self._variances = excess.numpy().copy(), variances.copy()
        self._num_epochs, self._first_spread = num_epochs, first_spread

    def _precision(
        self, measured: Numbers, expected: Numbers, batches: Measurements, spread: float
    ) -> float:
        """Return ω_e: what a visit in this epoch tells.

        Arguments:
            measured: normal scores of the losses, shape (G,), of variance 1.
            expected: what the mean excess before the epoch predicts for them, likewise.
            batches: the measurements.
            spread: σ_e.
        """
        if self._num_epochs == 0:
            self._first_spread = spread
            return PRECISION
        variances = take(self._variances, batches.indices)
        # the mean excess is known only in part, which makes the correlation smaller
        known = max(1e-3, 1 - float(variances.mean(dtype=np.float64)))
        share = _correlation(measured, expected) ** 2 / known
        # 2·ρ/√(G·known) with ρ ≈ 0.7 is the standard error of the share
        error = 1.4 / math.sqrt(measured.size * known)
        weights = UNSURE**-2, error**-2
        share = (weights[0] * EXPECTED + weights[1] * share) / sum(weights)
        share = min(MOST, max(LEAST, share))
        relative = min(LARGEST_SPREAD, spread / self._first_spread)
        return max(PRECISION * (share / (1 - share) * relative) ** 2, 1e-6)


def _spread(deviations: Numbers) -> float:
    """Return the range from the 10% to the 90% quantile, or the mean size if that is 0."""
    low, high = np.quantile(deviations, [0.1, 0.9]).tolist()
    return float(high - low) or float(np.abs(deviations).mean())


def _correlation(first: Numbers, second: Numbers) -> float:
    """Return the correlation of two arrays of shape (G,), or 0 if it is negative or unknown."""
    first, second = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(first @ first) * float(second @ second))
    return max(0.0, float(first @ second) / scale) if scale > 0 else 0.0
