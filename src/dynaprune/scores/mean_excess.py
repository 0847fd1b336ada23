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

EXPECTED, UNSURE = 0.5, 0.2
"""The share of the variance of losses that returns in the next epoch, if there are too few
measurements to tell it, and the standard deviation of that guess."""

FIRST = 0.25
"""That share in the first epoch, which has none before it and tells least."""

LEAST, MOST = 0.1, 0.95
"""The bounds of that share: no epoch counts for nothing, and none for all others together."""

LARGEST_SPREAD = 4.0
"""The largest spread of an epoch's losses, relative to that of the first epoch: a few steps that
diverge must not outweigh the run."""

STEPS = 31
"""Steps per standard deviation in which normal scores are remembered."""

FEWEST = 2
"""Fewest measurements in an epoch that are compared with each other."""


class MeanExcess:
    r"""The mean of each sample's excess over its visits, float32, shape (N,); 7 bytes a sample.

    Wrong labels have high losses early in a run, and are memorized late in it. So the last loss
    forgets them, and the mean over the run does not. Where the model cannot memorize, it is the
    other way round: late losses tell most. And the first epochs may tell nothing. So each epoch e
    counts by what it tells,

        ω_e = ρ_e / (1 − ρ_e) · (σ_e / σ_0)²

    where ρ_e is the share of the variance of losses that stays with the samples, estimated by the
    correlation with the epoch before; and σ_e is the spread of losses, from the 10% to the 90%
    quantile. Losses are compared as normal scores, in windows of neighbouring steps (`Windows`), so
    their scale and level do not matter, nor when a sample was visited. A batch measures the mean
    excess of its samples: the filter of `KalmanBLS`, with a noise of variance 1/ω_e and without
    drift. A loss vector makes it a weighted mean.

    It ranks wrong labels about as well as the margin averaged over the run (AUM): see
    docs/wrong-labels.md.

    Arguments:
        num_samples: N.
    """

    def __init__(self, num_samples: int) -> None:
        self._excess = np.zeros(num_samples, dtype=np.float32)
        # float16 and int8 are exact enough: a thousandth of a standard error, and 1/31 of a score
        self._errors = np.ones(num_samples, dtype=np.float16)  # standard errors
        self._last_scores = np.zeros(num_samples, dtype=np.int8)  # of the last visit, times STEPS
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
        noise = 1 / self._precision(measured, batches, spread)
        centre = float(take(self._excess, batches.indices).mean(dtype=np.float64))
        variances = np.square(self._errors, dtype=np.float32)
        unit = spread_among(batches.indices, self._excess, variances)
        found = (unit * measured / np.sqrt(sizes) + centre).astype(np.float32)
        for part in replace(batches, losses=torch.from_numpy(found)).disjoint(in_parts=True):
            places = part.indices.numpy()
            self._excess[places], left = corrected(
                take(self._excess, part.indices),
                take(variances, part.indices),
                part.sizes.numpy(),
                part.losses.numpy().astype(np.float64),
                noise,
            )
            variances[places] = left
            self._errors[places] = np.sqrt(left)
        scores = np.clip(np.rint(measured * STEPS), -127, 127).astype(np.int8)
        self._last_scores[batches.indices.numpy()] = np.repeat(scores, sizes)
        self._num_epochs += 1

    def grow(self, places: NDArray[np.int64], num_samples: int) -> None:
        """Make room for more samples; existing ones move to `places`, shape (N,)."""
        for name, start in (("_excess", 0), ("_errors", 1), ("_last_scores", 0)):
            before = getattr(self, name)
            grown = np.full(num_samples, start, dtype=before.dtype)
            grown[places] = before
            setattr(self, name, grown)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` restores it."""
        return {
            "values": torch.tensor(self._excess, device="cpu"),
            "errors": torch.tensor(self._errors, device="cpu"),
            "last_scores": torch.tensor(self._last_scores, device="cpu"),
            "num_epochs": self._num_epochs,
            "first_spread": self._first_spread,
        }

    def load_state_dict(self, state: Any, num_samples: int) -> None:
        """Restore what `state_dict` returned, for N = `num_samples`.

        Raises:
            RuntimeError: the state is incomplete or damaged, or of another number of samples.
        """
        names = ("values", "errors", "last_scores", "num_epochs", "first_spread")
        check_keys(state, names, "the state's mean_excess")

        def array(name: str, dtype: torch.dtype) -> NDArray[Any]:
            found = check_tensor(f"mean_excess's {name}", state[name], (num_samples,), dtype)
            values: NDArray[Any] = found.numpy().copy()
            return values

        excess, errors = array("values", torch.float32), array("errors", torch.float16)
        last_scores = array("last_scores", torch.int8)
        if not np.isfinite(excess).all() or not ((errors > 0) & (errors <= 1)).all():
            raise RuntimeError(
                "the state is damaged: its mean_excess must be finite, with errors above 0 and at "
                "most 1"
            )
        num_epochs = check_count("mean_excess's num_epochs", state["num_epochs"])
        first_spread = check_finite("mean_excess's first_spread", state["first_spread"], minimum=0)
        if (num_epochs > 0) != (first_spread > 0):
            raise RuntimeError(
                f"the state is damaged: its mean_excess has {num_epochs} epochs, but a first "
                f"spread of {first_spread}"
            )
        self._excess, self._errors, self._last_scores = excess, errors, last_scores
        self._num_epochs, self._first_spread = num_epochs, first_spread

    def _precision(self, measured: Numbers, batches: Measurements, spread: float) -> float:
        """Return ω_e: what a visit in this epoch tells.

        Arguments:
            measured: normal scores of the losses, shape (G,), of variance 1.
            batches: the measurements.
            spread: σ_e.
        """
        if self._num_epochs == 0:
            self._first_spread = spread
            return FIRST / (1 - FIRST)
        sizes = batches.sizes.numpy()
        last = self._last_scores[batches.indices.numpy()].astype(np.float32)
        before = means(last, sizes) * np.sqrt(sizes)
        # a sample makes 1/√B of the score of its batch, now and in the epoch before
        size = batches.indices.numel() / len(batches)
        share = _correlation(measured, before) * math.sqrt(size)
        error = math.sqrt(size / len(batches))
        weights = UNSURE**-2, error**-2
        share = (weights[0] * EXPECTED + weights[1] * share) / sum(weights)
        share = min(MOST, max(LEAST, share))
        return share / (1 - share) * min(LARGEST_SPREAD, spread / self._first_spread) ** 2


def _spread(deviations: Numbers) -> float:
    """Return the range from the 10% to the 90% quantile, or the mean size if that is 0."""
    low, high = np.quantile(deviations, [0.1, 0.9]).tolist()
    return float(high - low) or float(np.abs(deviations).mean())


def _correlation(first: Numbers, second: Numbers) -> float:
    """Return the correlation of two arrays of shape (G,), or 0 if it is negative or unknown."""
    first, second = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(first @ first) * float(second @ second))
    return max(0.0, float(first @ second) / scale) if scale > 0 else 0.0
