"""What an epoch trains on: a method's selection, and the plan a sampler serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices: TypeAlias = "NDArray[np.int64] | Tensor"
"""Sample numbers, int64, shape (B,): an array on the host, or a tensor on another device."""


@dataclass(frozen=True)
class Selection:
    """The samples that a method keeps for an epoch.

    Attributes:
        indices: int64, shape (K,): the kept samples, in any order, none twice.
        weights: float32, shape (K,): what each one's loss is multiplied by; `None` where all
            are 1, which spares a dataset's worth of memory.
    """

    indices: Tensor
    weights: Tensor | None = None


@dataclass(frozen=True)
class Plan:
    """One epoch, ready to be served.

    Attributes:
        epoch: its number, from 0.
        order: int64, shape (K,): the kept samples in the order in which they are served.
        weights: float32, shape (N,): every sample's weight by its index (1 for samples that are
            not served), or `None` where all are 1.
    """

    epoch: int
    order: Tensor
    weights: NDArray[np.float32] | None
    _on_device: dict[torch.device, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.order.numel()

    def mean_weight(self, indices: Indices) -> float | Tensor:
        """Return the mean weight of the samples `indices`, of shape (B,), B ≥ 1.

        A number for indices on the host, a tensor of shape () for indices on a device.
        """
        if self.weights is None:
            return 1.0
        if isinstance(indices, Tensor):
            return self._weights_on(indices.device)[indices].mean()
        # a ufunc's reduce: the mean() of NumPy takes three times as long on so few numbers
        return float(np.add.reduce(self.weights.take(indices), dtype=np.float64)) / indices.size

    def sample_weights(self, indices: Indices) -> float | Tensor:
        """Return the weights of the samples `indices`: float32, shape (B,), or 1.0 if all are 1."""
        if self.weights is None:
            return 1.0
        if isinstance(indices, Tensor):
            return self._weights_on(indices.device)[indices]
        return torch.from_numpy(self.weights.take(indices))

    def _weights_on(self, device: torch.device) -> Tensor:
        """Return the weights on a device: copied there once an epoch, so that no step waits."""
        if device not in self._on_device:
            self._on_device[device] = torch.from_numpy(self.weights).to(device)
        return self._on_device[device]


def make_plan(selection: Selection, num_samples: int, epoch: int, seed: int) -> Plan:
    """Shuffle a selection into the plan of epoch `epoch` of a dataset of `num_samples`."""
    generator = epoch_generator(seed, epoch, stream=1)
    order = selection.indices[torch.randperm(selection.indices.numel(), generator=generator)]
    weights = None
    if selection.weights is not None:
        weights = np.ones(num_samples, dtype=np.float32)
        weights[selection.indices.numpy()] = selection.weights.numpy()
    return Plan(epoch, order, weights)


def epoch_generator(seed: int, epoch: int, stream: int = 0) -> torch.Generator:
    """Return a generator that depends on the seed, the epoch and the stream, and on nothing else.

    NumPy's `SeedSequence` mixes them well, so that seed 0 in epoch 1 has nothing to do with
    seed 1 in epoch 0. Global generators are neither read nor written.
    """
    mixed: Any = np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed) >> 1)
