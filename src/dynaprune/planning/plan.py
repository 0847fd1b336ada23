"""The plan of an epoch: which samples a sampler serves, in which order, with which weights."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.keys import KeyTable
from ..losses.measurements import Indices
from ..utils.devices import copied_to, current_stream
from ..utils.rng import epoch_generator
from ..utils.sampling import index_type, shuffled
from .composition import sorted_in_batches
from .selection import Selection
from .weights import SampleWeights, Weights


@dataclass(frozen=True)
class Plan:
    """One epoch, ready to be served.

    Attributes:
        epoch: its number, from 0.
        order: shape (K,), of `index_type(N)`: the kept samples in the order in which they are
            served.
        weights: the weight of every sample by index (1 for samples that are not served), or `None`
            if all are 1.
        due: like `order`: the samples that are still to be served, in order: all of `order`,
            unless the run was resumed in the middle of the epoch.
        keys: only for streams: the keys that these numbers refer to. Then `order` and `due` are the
            known samples that are kept, ascending: the stream determines their order.
    """

    epoch: int
    order: Tensor
    weights: Weights | None
    due: Tensor
    keys: KeyTable | None = None
    _on_device: dict[tuple[torch.device, int], Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.order.numel()

    def without(self, served: Tensor) -> Plan:
        """Return the plan with the samples `served`, any int64, removed from those due."""
        is_served = np.zeros(int(self.order.max()) + 1, dtype=np.bool_)
        is_served[served[served < is_served.size].numpy()] = True
        return replace(self, due=self.order[torch.from_numpy(~is_served[self.order.numpy()])])

    def retired(self) -> Plan:
        """Return a plan of the same epoch that serves nothing and takes no memory."""
        return Plan(self.epoch, self.order[:0].clone(), None, self.due[:0].clone())

    def weight_of_each(self) -> NDArray[np.float32]:
        """Return the weights of a stream's samples, 0 for skipped ones: shape (N,)."""
        result = np.zeros(len(self.keys or ()), dtype=np.float32)
        kept = self.order.numpy()
        result[kept] = 1.0 if self.weights is None else self.weights.of(kept)
        return result

    def digest(self) -> int:
        """Return a number that identifies the plan, up to rare collisions."""
        order = digest(self.order)
        return order if self.weights is None else zlib.crc32(self.weights.levels.data, order)

    def mean_weight(self, indices: Indices) -> float | Tensor:
        """Return the mean weight of the samples `indices`, of shape (B,), B ≥ 1.

        It is a number for indices on the host, a tensor of shape () for indices on a device.
        """
        if self.weights is None:
            return 1.0
        if isinstance(indices, Tensor):
            return self._weights_at(indices).mean()
        return self.weights.mean(indices)

    def sample_weights(self, indices: Indices) -> SampleWeights:
        """Return the weights of the samples `indices`, on the device of these."""
        if self.weights is None:
            return 1.0
        if isinstance(indices, Tensor):
            return self._weights_at(indices)
        return self.weights.of(indices)

    def _weights_at(self, indices: Tensor) -> Tensor:
        """Return the weights of samples by their indices on a device: float32, shape (B,).

        The range of indices is checked when losses are folded. Until then an index out of range
        gets the weight of another sample: an out-of-range access would make CUDA unusable.
        """
        if indices.is_cpu and self.weights is not None:
            inside = indices.clamp(0, len(self.weights) - 1)
            return torch.from_numpy(self.weights.of(inside.numpy()))
        weights = self._weights_on(indices.device)
        return weights[indices.clamp(0, weights.numel() - 1)]

    def _weights_on(self, device: torch.device) -> Tensor:
        """Return the weights on a device: copied once per epoch and stream in use."""
        where = device, current_stream(device)  # a different stream would not wait for the copy
        if where not in self._on_device and self.weights is not None:
            self._on_device[where] = copied_to(device, torch.from_numpy(self.weights.every()))
        return self._on_device[where]


def make_plan(
    selection: Selection, num_samples: int, epoch: int, seed: int, keys: KeyTable | None = None
) -> Plan:
    """Shuffle a selection into the plan of epoch `epoch` of a dataset of `num_samples`.

    The plan of a stream, whose `keys` are given, is not shuffled here, but while it is served.
    """
    order = selection.indices.to(index_type(num_samples))
    weights = None
    if selection.weights is not None:
        weights = Weights.scattered(selection.indices, selection.weights, num_samples)
    if keys is not None:
        order = order.sort().values
        return Plan(epoch, order, weights, due=order, keys=keys)
    order = shuffled(order, epoch_generator(seed, epoch, stream=1))
    if weights is not None and selection.batch_size is not None:
        order = sorted_in_batches(order, weights.of(order.numpy()), selection.batch_size)
    return Plan(epoch, order, weights, due=order)


def digest(values: Tensor) -> int:
    """Return a checksum of a tensor on the host."""
    return zlib.crc32(values.contiguous().numpy().data)
