"""The mean excess of each sample: its losses over the whole run, compared with those of others."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..losses.measurements import Measurements
from ..utils.sampling import take
from ..utils.validation import check_count, check_finite, check_keys, check_tensor
from .filtering import Floats, corrected, spread_among
from .windows import Numbers, Windows, means

EXPECTED, UNSURE = 0.5, 0.2
"""The share of the variance of losses that the samples' excess explains, if there are too few
measurements to tell it, and the standard deviation of that guess."""

LEAST, MOST = 0.05, 0.95
"""The bounds of that share: no epoch counts for nothing, and none for all others together."""

FLOOR = 0.4
"""The least that an epoch counts, relative to the mean over the epochs before: if the first epochs
tell nothing, as those of SST-2 with dropout, later ones disagree with them, and must still count
enough to replace them."""

LARGEST_SPREAD = 4.0
"""The largest spread of an epoch's losses, relative to that of the first epoch: a few steps that
diverge must not outweigh the run."""

FEWEST = 2
"""Fewest measurements in an epoch that are compared with each other."""


@dataclass(frozen=True)
class Reading:
    """What the losses of an epoch say of the mean excess.

    Attributes:
        means: of the samples of each measurement, in standard deviations: float64, shape (G,).
        precision: ω_e. The mean over B samples has the variance 1 / (ω_e·B).
    """

    means: Numbers
    precision: float


class MeanExcess:
    r"""The mean of each sample's excess over its visits, float32, shape (N,); 6 bytes a sample.

    Wrong labels have high losses early in a run, and are memorized late in it. So the last loss
    forgets them, and the mean over the run does not. Where the model cannot memorize, it is the
    other way round: late losses tell most. And the first epochs may tell nothing. So each epoch e
    counts by what it tells,

        ω_e = 2·(ρ_e / (1 − ρ_e) · σ_e / σ_0)²,   but at least 0.4·(mean of ω before e)

    where ρ_e is the share of the variance of its losses that the mean excess so far explains, and
    σ_e is the spread of losses, from the 10% to the 90% quantile. In the first epoch, ω_0 = 2. The
    forms of ω_e were compared on 28 recorded trainings with wrong labels.

    Losses are compared as normal scores, in windows of neighbouring steps (`Windows`), so their
    scale and level do not matter, nor when a sample was visited. A batch measures the mean excess
    of its samples: the filter of `KalmanBLS`, with a noise of variance 1/ω_e and without drift. A
    loss vector makes it a weighted mean.

    It ranks wrong labels about as well as the margin averaged over the run (AUM): see
    docs/wrong-labels.md.

    Arguments:
        num_samples: N.
    """

    def __init__(self, num_samples: int) -> None:
        self._excess = np.zeros(num_samples, dtype=np.float32)
        # float16 is exact enough: a thousandth of a standard error
        self._errors = np.ones(num_samples, dtype=np.float16)  # standard errors
        self._num_epochs = 0
        self._precision = 0.0  # the mean of ω over the epochs
        self._first_spread = 0.0

    @property
    def values(self) -> NDArray[np.float32]:
        """The mean excess in standard deviations, shape (N,); 0 before the first visit.

        Do not write to it.
        """
        return self._excess

    def fold(self, batches: Measurements) -> Reading | None:
        """Fold in the measurements of an epoch, and return how they were read.

        Arguments:
            batches: the measurements; all losses are finite.

        Returns:
            The reading; `None` if they tell nothing.
        """
        if len(batches) < FEWEST:
            return None
        sizes = batches.sizes.numpy()
        windows = Windows(sizes)
        deviations = windows.deviations(batches.losses.numpy().astype(np.float64))
        spread = _spread(deviations)
        if spread == 0:
            return None
        measured = windows.measured(deviations)
        variances = np.square(self._errors, dtype=np.float32)
        precision = self._count_epoch(measured, batches, spread, variances)
        centre = float(take(self._excess, batches.indices).mean(dtype=np.float64))
        unit = spread_among(batches.indices, self._excess, variances)
        reading = Reading(unit * measured / np.sqrt(sizes) + centre, precision)
        found = torch.from_numpy(reading.means.astype(np.float32))
        for part in replace(batches, losses=found).disjoint(in_parts=True):
            places = part.indices.numpy()
            self._excess[places], left = corrected(
                take(self._excess, part.indices),
                take(variances, part.indices),
                part.sizes.numpy(),
                part.losses.numpy().astype(np.float64),
                1 / precision,
            )
            variances[places] = left
            self._errors[places] = np.sqrt(left)
        return reading

    def grow(self, places: NDArray[np.int64], num_samples: int) -> None:
        """Make room for more samples; existing ones move to `places`, shape (N,)."""
        for name, start in (("_excess", 0), ("_errors", 1)):
            before = getattr(self, name)
            grown = np.full(num_samples, start, dtype=before.dtype)
            grown[places] = before
            setattr(self, name, grown)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` restores it."""
        return {
            "values": torch.tensor(self._excess, device="cpu"),
            "errors": torch.tensor(self._errors, device="cpu"),
            "num_epochs": self._num_epochs,
            "precision": self._precision,
            "first_spread": self._first_spread,
        }

    def load_state_dict(self, state: Any, num_samples: int) -> None:
        """Restore what `state_dict` returned, for N = `num_samples`.

        Raises:
            RuntimeError: the state is incomplete or damaged, or of another number of samples.
        """
        names = ("values", "errors", "num_epochs", "precision", "first_spread")
        check_keys(state, names, "the state's mean_excess")

        def array(name: str, dtype: torch.dtype) -> NDArray[Any]:
            found = check_tensor(f"mean_excess's {name}", state[name], (num_samples,), dtype)
            values: NDArray[Any] = found.numpy().copy()
            return values

        excess, errors = array("values", torch.float32), array("errors", torch.float16)
        if not np.isfinite(excess).all() or not ((errors > 0) & (errors <= 1)).all():
            raise RuntimeError(
                "the state is damaged: its mean_excess must be finite, with errors above 0 and at "
                "most 1"
            )
        num_epochs = check_count("mean_excess's num_epochs", state["num_epochs"])
        precision = check_finite("mean_excess's precision", state["precision"], minimum=0)
        first_spread = check_finite("mean_excess's first_spread", state["first_spread"], minimum=0)
        if not (num_epochs > 0) == (first_spread > 0) == (precision > 0):
            raise RuntimeError(
                f"the state is damaged: its mean_excess has {num_epochs} epochs, but a first "
                f"spread of {first_spread} and a precision of {precision}"
            )
        self._excess, self._errors = excess, errors
        self._num_epochs, self._precision, self._first_spread = num_epochs, precision, first_spread

    def _count_epoch(
        self, measured: Numbers, batches: Measurements, spread: float, variances: Floats
    ) -> float:
        """Return ω_e, what a visit in this epoch tells, and count the epoch.

        Arguments:
            measured: normal scores of the losses, shape (G,), of variance 1.
            batches: the measurements.
            spread: σ_e.
            variances: of the excess, shape (N,).
        """
        if self._num_epochs == 0:
            self._first_spread = spread
        share = self._explained(measured, batches, variances)
        relative = min(LARGEST_SPREAD, spread / self._first_spread)
        precision = max(2 * (share / (1 - share) * relative) ** 2, FLOOR * self._precision)
        self._num_epochs += 1
        self._precision += (precision - self._precision) / self._num_epochs
        return precision

    def _explained(self, measured: Numbers, batches: Measurements, variances: Floats) -> float:
        """Return ρ_e: the share of the variance of losses that the mean excess so far explains."""
        # of the variance of the excess, 1, the mean so far has found this part
        found = 1 - float(take(variances, batches.indices).mean(dtype=np.float64))
        if found <= 0:  # nothing so far
            return EXPECTED
        sizes = batches.sizes.numpy()
        before = means(take(self._excess, batches.indices), sizes) * np.sqrt(sizes)
        share = _correlation(measured, before) ** 2 / found
        weights = UNSURE**-2, found * len(batches) / 2  # a squared correlation's error is √(2/G)
        share = (weights[0] * EXPECTED + weights[1] * share) / sum(weights)
        return min(MOST, max(LEAST, share))


def _spread(deviations: Numbers) -> float:
    """Return the range from the 10% to the 90% quantile, or the mean size if that is 0."""
    low, high = np.quantile(deviations, [0.1, 0.9]).tolist()
    return float(high - low) or float(np.abs(deviations).mean())


def _correlation(first: Numbers, second: Numbers) -> float:
    """Return the correlation of two arrays of shape (G,), or 0 if it is negative or unknown."""
    first, second = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(first @ first) * float(second @ second))
    return max(0.0, float(first @ second) / scale) if scale > 0 else 0.0
