"""The weights of the samples of an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SampleWeights: TypeAlias = "float | NDArray[np.float32] | Tensor"
"""The weight of each sample, float32, shape (B,): a host array or a tensor; 1.0 if all are 1."""


@dataclass(frozen=True)
class Weights:
    """The weights of all samples, in one byte per sample if there are at most two distinct weights.

    Attributes:
        levels: float32, shape (L,): the two distinct weights.
        codes: uint8, shape (N,): the position of each sample's weight in `levels`; `None` if
            `levels` are the weights of the samples themselves, L = N.
    """

    levels: NDArray[np.float32]
    codes: NDArray[np.uint8] | None

    @staticmethod
    def scattered(indices: Tensor, weights: Tensor, num_samples: int) -> Weights:
        """Return `weights`, of shape (K,), for the samples `indices`, and 1 for all others."""
        values = as_array(weights)
        is_other = values != 1
        first = int(is_other.argmax())
        others = values[first : first + 1]  # only the first of them
        if np.count_nonzero(values == others) + np.count_nonzero(~is_other) < values.size:
            every = np.ones(num_samples, dtype=np.float32)
            every[indices.numpy()] = values
            return Weights(every, None)
        codes = np.zeros(num_samples, dtype=np.uint8)
        codes[indices.numpy()] = is_other
        return Weights(np.append(np.float32(1), others), codes)

    def __len__(self) -> int:
        return self.levels.size if self.codes is None else self.codes.size

    def of(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the weights of the samples `indices`: shape (B,)."""
        return self.levels.take(indices if self.codes is None else self.codes.take(indices))

    def mean(self, indices: NDArray[np.int64]) -> float:
        """Return the mean weight of the samples `indices`, of shape (B,), B ≥ 1."""
        if self.codes is None:
            # on so few numbers, a ufunc's reduce is three times as fast as NumPy's mean()
            return float(np.add.reduce(self.of(indices), dtype=np.float64)) / indices.size
        first, second = self.levels.tolist()
        seconds = int(np.count_nonzero(self.codes.take(indices)))
        mean: float = (first * (indices.size - seconds) + second * seconds) / indices.size
        return mean

    def every(self) -> NDArray[np.float32]:
        """Return the weights of all samples: shape (N,), read-only."""
        return self.levels if self.codes is None else self.levels.take(self.codes)


def as_array(weights: Tensor) -> NDArray[np.float32]:
    """Return weights of any type and device as an array on the host."""
    array: NDArray[np.float32] = weights.detach().to("cpu", torch.float32).numpy()
    return array
