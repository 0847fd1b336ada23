"""The mean excess of each sample from all visits of a run at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..losses.measurements import Measurements
from .mean_excess import MeanExcess, Reading
from .windows import Numbers, means

STEPS, TOLERANCE = 200, 1e-3
"""The most steps, and the residual at which they end, relative to the first one. More steps change
no rank: the AUROC of wrong labels stays the same to 0.001."""


def fit_mean_excess(epochs: Iterable[Measurements], num_samples: int) -> NDArray[np.float32]:
    r"""Return the mean excess of each sample, float32, shape (N,), from all measurements at once.

    `MeanExcess` reads epochs one by one, and forgets which samples were in a batch together. That
    loses nothing with loss vectors, and 1 to 2 points of AUROC with slices. Here the excess s
    minimizes

        Σ_e ω_e · Σ_b B·(r_b − mean of s over b)² + Σ_i s_i²

    over all batches b of B samples of all epochs e, with ω_e and r_b as `MeanExcess` reads them, by
    conjugate gradients. It takes 4 bytes for each visit of the run.

    Arguments:
        epochs: the measurements of each epoch; all losses are finite.
        num_samples: N.

    Example:
        >>> import torch
        >>> from dynaprune.losses.measurements import Measurements
        >>> from dynaprune.scores.least_squares import fit_mean_excess
        >>> indices, sizes, steps = torch.arange(4), torch.full((2,), 2), torch.arange(2)
        >>> epoch = Measurements(indices, sizes, torch.tensor([3.0, 1.0]), steps)
        >>> fit_mean_excess([epoch], 4).tolist()[0] > 0
        True
    """
    one_by_one = MeanExcess(num_samples)
    parts = []
    for batches in epochs:
        reading = one_by_one.fold(batches)
        if reading is not None:
            parts.append(_Part(batches, reading, num_samples))
    if all(part.is_of_samples for part in parts):
        return one_by_one.values  # exact
    return _solve(parts, one_by_one.values.astype(np.float64)).astype(np.float32)


class _Part:
    """The equations of an epoch: the quadratic form ω·Σ_b B·(r_b − mean of s over b)²."""

    def __init__(self, batches: Measurements, reading: Reading, num_samples: int) -> None:
        self._indices = batches.indices.numpy().astype(np.int32, copy=False)
        self._sizes = batches.sizes.numpy()
        self._reading = reading
        self._num_samples = num_samples

    @property
    def is_of_samples(self) -> bool:
        """Whether each measurement is of a single sample."""
        return self._indices.size == self._sizes.size

    def right_side(self) -> Numbers:
        return self._spread(self._reading.means)

    def diagonal(self) -> Numbers:
        return self._spread(1 / self._sizes)

    def product(self, excess: Numbers) -> Numbers:
        """Return half of the form's Hessian times `excess`, shape (N,)."""
        return self._spread(means(excess[self._indices], self._sizes))

    def _spread(self, values: Numbers) -> Numbers:
        """Return the sum over the measurements of each sample of ω·values: shape (N,)."""
        each = np.repeat(self._reading.precision * values, self._sizes)
        sums: Numbers = np.bincount(self._indices, each, minlength=self._num_samples).astype(float)
        return sums


def _solve(parts: list[_Part], excess: Numbers) -> Numbers:
    """Return the minimum, from a first guess, by conjugate gradients with the diagonal in front."""

    def product(values: Numbers) -> Numbers:
        return values + sum(part.product(values) for part in parts)

    diagonal = 1 + sum(part.diagonal() for part in parts)
    right = sum(part.right_side() for part in parts)
    residual = right - product(excess)
    least = TOLERANCE * np.linalg.norm(right)
    direction = residual / diagonal
    size = residual @ direction
    for _ in range(STEPS):
        if np.linalg.norm(residual) <= least:
            break
        image = product(direction)
        step = size / (direction @ image)
        excess = excess + step * direction
        residual = residual - step * image
        corrected = residual / diagonal
        before, size = size, residual @ corrected
        direction = corrected + size / before * direction
    return excess
