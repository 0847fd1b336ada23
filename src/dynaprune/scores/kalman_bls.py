"""A Kalman filter of the batch losses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..losses.measurements import Measurements
from ..utils.sampling import take
from ..utils.validation import check_keys, check_tensor
from .base import Score
from .filtering import corrected, spread_among
from .windows import Numbers, Windows

ENOUGH = 32
"""Number of measurements from which the level and the spread are estimated from the epoch alone."""

TINY = float(np.finfo(np.float32).tiny)

DRIFT = 0.02
"""q: the share of the variance of the excess that is renewed per epoch. Between 0 and 0.1 it hardly
matters."""

NOISE = 1.0
"""τ²: variance of a measurement in addition to the excess: dropout, augmentation, and changes of
the model between measurements. Between 0.3 and 3 it hardly matters."""


class KalmanBLS(Score):
    r"""A Kalman filter of the batch losses: it subtracts what a sample's neighbours explain.

    Each sample i has an excess s_i over the others. Its prior is standard normal, and P_i ≤ 1 is
    its variance given the measurements. A batch B with loss L has a normal score z: the rank of L
    among the losses around it in the run, without their trend, as a quantile of the standard normal
    distribution. It measures the mean excess of the batch, so

        r   = z/√|B| − (mean of s over B − mean of s over the epoch's samples)
        K_i = P_i / (mean of P over B + τ²)
        s_i ← s_i + K_i·r
        P_i ← P_i·(1 − K_i/|B|)

    and after each epoch, in which an excess may drift, s_i ← √(1 − q)·s_i and
    P_i ← (1 − q)·P_i + q: a sample that is not measured returns to its prior. Batches of any sizes
    may be mixed; a loss vector is the case |B| = 1, and `chunked` lies between. There is nothing to
    tune: τ² = 1 and q = 0.02 hardly matter. Only the order of the losses is used, so their scale,
    their level, changes of both during training, and a few huge losses do not matter either.

    Scores are expected losses, with the level and the spread of the last epoch:
    L̄·exp(κ·s_i) / (mean of exp(κ·s)) with κ² = ln(1 + variance/L̄²), as if losses were
    log-normal; L̄ + √variance·s_i if there are losses below 0.

    Source: the filter is that of Kalman (1960) with a diagonal covariance; the measurement is
    that of the Batch Loss Score, arXiv:2604.04681; normal scores are those of van der Waerden
    (1952).

    Arguments:
        base: the pruned dataset to score; see `Score`.

    Raises:
        TypeError: `base` has no length.

    Example:
        >>> from dynaprune import InfoBatch, KalmanBLS
        >>> train = KalmanBLS(InfoBatch(range(1000), num_epochs=10)).proxy()
        >>> type(train).__name__
        'InfoBatch'
    """

    observes_in_parts: ClassVar[bool] = True
    compares_batches: ClassVar[bool] = True

    def __init__(self, base: Any) -> None:
        super().__init__(base)
        self._variances = np.ones(self.num_samples, dtype=np.float32)  # P
        self._mean_loss = 0.0  # of the last epoch
        self._spread = 0.0  # standard deviation of per-sample losses in the last epoch
        self._is_positive = True  # whether no loss in the last epoch was below 0
        self._num_measured = 0  # number of losses in the run
        self._centre = 0.0  # mean excess of the samples of the epoch that is observed

    def read(self, batches: Measurements) -> Measurements:
        """Return the measurements with normal scores instead of losses, in units of the excess."""
        self._started = True
        sizes, losses = batches.sizes.numpy(), batches.losses.numpy().astype(np.float64)
        windows = Windows(sizes)
        deviations = windows.deviations(losses)
        self._set_unit(losses, sizes, deviations, windows.count)
        excess = self._values_of(batches.indices)
        self._centre = float(excess.mean(dtype=np.float64))
        unit = spread_among(batches.indices, self._values.numpy(), self._variances)
        scores = unit * windows.measured(deviations) / np.sqrt(sizes)
        return replace(batches, losses=torch.from_numpy(scores.astype(np.float32)))

    def observe(self, batches: Measurements) -> None:
        """Fold measurements into the scores, all at once; no sample is in two of them."""
        excess, variances = corrected(
            self._values_of(batches.indices),
            take(self._variances, batches.indices),
            batches.sizes.numpy(),
            batches.losses.numpy() + self._centre,
            NOISE,
        )
        self._write(batches.indices, excess)
        self._variances[batches.indices.numpy()] = variances

    def end_epoch(self) -> None:
        """End the epoch, in which each excess may have drifted."""
        self._values *= math.sqrt(1 - DRIFT)
        self._variances *= np.float32(1 - DRIFT)
        self._variances += np.float32(DRIFT)

    def values(self) -> Tensor:
        """Return the expected losses, float32, shape (N,): the higher, the more worth training on.

        They are all equal until the first batch was observed.
        """
        excess = self._values.numpy()
        if not self._is_positive or excess.size == 0:
            return torch.from_numpy(self._mean_loss + np.float32(self._spread) * excess)
        values = np.exp(np.float32(self._log_spread()) * excess)
        values *= np.float32(self._mean_loss / max(float(values.mean(dtype=np.float64)), TINY))
        return torch.from_numpy(values)

    def errors(self) -> Tensor:
        """Return the standard errors of the scores, float32, shape (N,)."""
        errors = np.sqrt(self._variances)
        if not self._is_positive:
            return torch.from_numpy(np.float32(self._spread) * errors)
        errors *= np.float32(self._log_spread())
        return torch.from_numpy(errors * self.values().numpy())

    def restore(self, values: Tensor) -> None:
        """Continue from these scores, shape (N,), of any type and device."""
        given = values.detach().to("cpu", torch.float32)
        if given.equal(self.values()):
            return
        scores = given.numpy().astype(np.float64)
        if self._is_positive and scores.min() > 0 and self._log_spread() > 0:
            excess = np.log(scores)
            excess -= excess.mean()
            excess /= self._log_spread()
        else:
            excess = (scores - scores.mean()) / (scores.std() or 1.0)
        super().restore(torch.from_numpy(excess))

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` restores the scores."""
        return super().state_dict() | {
            "variances": torch.tensor(self._variances, device="cpu"),
            "unit": torch.tensor(
                [self._mean_loss, self._spread, self._is_positive, self._num_measured],
                dtype=torch.float64,
                device="cpu",
            ),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            RuntimeError: the state is incomplete or damaged, or belongs to another score or to
                another number of samples.
        """
        check_keys(state, ("name", "values"), "the state's score")
        if not isinstance(state["name"], str) or state["name"] != type(self).__name__:
            super().load_state_dict(state)  # raises an error that names the other score
            return
        check_keys(state, ("variances", "unit"), "the state's score")
        count = check_tensor("values", state["values"], (None,), torch.float32).numel()
        variances = check_tensor("variances", state["variances"], (count,), torch.float32).numpy()
        if not ((variances >= 0) & (variances < math.inf)).all():
            raise RuntimeError(
                "the state is damaged: its variances are not all finite and at least 0"
            )
        unit = check_tensor("unit", state["unit"], (4,), torch.float64).tolist()
        mean_loss, spread, is_positive, num_measured = unit
        if (
            not np.isfinite(unit).all()
            or spread < 0
            or is_positive not in (0, 1)
            or (num_measured < 0 or not num_measured.is_integer())
        ):
            raise RuntimeError(f"the state is damaged: its unit cannot be {unit}")
        super().load_state_dict(state)
        self._variances = variances.copy()
        self._mean_loss, self._spread = mean_loss, spread
        self._is_positive, self._num_measured = bool(is_positive), int(num_measured)

    def _grow(self, places: Tensor, num_samples: int) -> None:
        super()._grow(places, num_samples)
        grown = np.ones(num_samples, dtype=np.float32)
        grown[places.numpy()] = self._variances
        self._variances = grown

    def _set_unit(
        self, losses: Numbers, sizes: NDArray[np.int64], deviations: Numbers, windows: int
    ) -> None:
        """Estimate the level and the spread of per-sample losses from the losses of batches."""
        mean_loss = float((losses * sizes).sum() / sizes.sum())
        variance = float(deviations @ deviations) / max(1, losses.size - windows)
        # a few measurements change little if many were made before
        trust = losses.size / min(losses.size + self._num_measured, max(losses.size, ENOUGH))
        mean_loss = trust * mean_loss + (1 - trust) * self._mean_loss
        variance = trust * variance + (1 - trust) * self._spread**2
        self._num_measured += losses.size
        self._mean_loss, self._spread = mean_loss, math.sqrt(variance)
        self._is_positive = bool(losses.min() >= 0) and mean_loss > 0

    def _log_spread(self) -> float:
        """Return κ, the standard deviation of log-normal losses of this level and spread."""
        if self._mean_loss <= 0:  # nothing was observed yet
            return 0.0
        return math.sqrt(math.log1p((self._spread / self._mean_loss) ** 2))
