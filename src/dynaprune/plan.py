"""What an epoch trains on: a method's selection, and the plan a sampler serves."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .composition import Composition
from .drawing import count_distinct, index_type, shuffled
from .keys import KeyTable

Indices: TypeAlias = "NDArray[np.int64] | Tensor"
"""Sample numbers, int64, shape (B,): an array on the host, or a tensor on another device."""

SampleWeights: TypeAlias = "float | NDArray[np.float32] | Tensor"
"""A weight for each sample, float32, shape (B,): an array on the host, or a tensor; 1.0 for 1s."""


@dataclass(frozen=True)
class Selection:
    """The samples that a method keeps for an epoch.

    Attributes:
        indices: int64 or int32, shape (K,): the kept samples, in any order, none twice.
        weights: float32, shape (K,): what each one's loss is multiplied by; `None` where all
            are 1, which spares a dataset's worth of memory.
        composition: how they are put into batches, `None` for any way; those of a stream are not.
    """

    indices: Tensor
    weights: Tensor | None = None
    composition: Composition | None = None


@dataclass(frozen=True)
class Weights:
    """The weights of all samples: a byte for each where they are two different numbers.

    Attributes:
        levels: float32, shape (L,): the two different weights.
        codes: uint8, shape (N,): which of them is a sample's; `None` where `levels` are the
            samples' own weights, L = N.
    """

    levels: NDArray[np.float32]
    codes: NDArray[np.uint8] | None

    @staticmethod
    def scattered(indices: Tensor, weights: Tensor, num_samples: int) -> Weights:
        """Return `weights`, of shape (K,), for the samples `indices`, and 1 for all others."""
        values = _as_array(weights)
        is_other = values != 1
        first = int(is_other.argmax())
        others = values[first : first + 1]  # only the first one, if there are more
        if np.count_nonzero(values == others) + np.count_nonzero(~is_other) < values.size:
            every = np.ones(num_samples, dtype=np.float32)
            every[indices.numpy()] = values
            return Weights(every, None)
        codes = np.zeros(num_samples, dtype=np.uint8)
        codes[indices.numpy()] = is_other
        return Weights(np.append(np.float32(1), others), codes)

    def of(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the weights of the samples `indices`: shape (B,)."""
        return self.levels.take(indices if self.codes is None else self.codes.take(indices))

    def mean(self, indices: NDArray[np.int64]) -> float:
        """Return the mean weight of the samples `indices`, of shape (B,), B ≥ 1."""
        if self.codes is None:
            # a ufunc's reduce: the mean() of NumPy takes three times as long on so few numbers
            return float(np.add.reduce(self.of(indices), dtype=np.float64)) / indices.size
        first, second = self.levels.tolist()
        seconds = int(np.count_nonzero(self.codes.take(indices)))
        mean: float = (first * (indices.size - seconds) + second * seconds) / indices.size
        return mean

    def every(self) -> NDArray[np.float32]:
        """Return the weights of all samples: shape (N,), not to be written."""
        return self.levels if self.codes is None else self.levels.take(self.codes)


@dataclass(frozen=True)
class Plan:
    """One epoch, ready to be served.

    Attributes:
        epoch: its number, from 0.
        order: shape (K,), of `index_type(N)`: the kept samples in the order in which they are
            served.
        weights: every sample's weight by its index (1 for samples that are not served), or `None`
            where all are 1.
        due: like `order`: the samples that are still to be served, in order: all of `order`,
            unless the run was resumed in the middle of the epoch.
        keys: of a stream, which keys those numbers are of. Then `order` and `due` are the known
            samples that are kept, ascending: their order is the stream's.
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
        """Return the plan with only those samples due that are not in `served`, any int64."""
        is_served = np.zeros(int(self.order.max()) + 1, dtype=np.bool_)
        is_served[served[served < is_served.size].numpy()] = True
        return replace(self, due=self.order[torch.from_numpy(~is_served[self.order.numpy()])])

    def retired(self) -> Plan:
        """Return a plan of the same epoch that serves nothing and takes no memory."""
        return Plan(self.epoch, self.order[:0].clone(), None, self.due[:0].clone())

    def weight_of_each(self) -> NDArray[np.float32]:
        """Return the weights of a stream's samples, 0 for those that are not kept: shape (N,)."""
        result = np.zeros(len(self.keys or ()), dtype=np.float32)
        kept = self.order.numpy()
        result[kept] = 1.0 if self.weights is None else self.weights.of(kept)
        return result

    def digest(self) -> int:
        """Return a number that another plan hardly has too."""
        order = digest(self.order)
        return order if self.weights is None else zlib.crc32(self.weights.levels.data, order)

    def mean_weight(self, indices: Indices) -> float | Tensor:
        """Return the mean weight of the samples `indices`, of shape (B,), B ≥ 1.

        A number for indices on the host, a tensor of shape () for indices on a device.
        """
        if self.weights is None:
            return 1.0
        if isinstance(indices, Tensor):
            return self._weights_at(indices).mean()
        return self.weights.mean(indices)

    def sample_weights(self, indices: Indices) -> SampleWeights:
        """Return the weights of the samples `indices`, where these are."""
        if self.weights is None:
            return 1.0
        if isinstance(indices, Tensor):
            return self._weights_at(indices)
        return self.weights.of(indices)

    def _weights_at(self, indices: Tensor) -> Tensor:
        """Return the weights of samples by their indices on a device: float32, shape (B,).

        The range of these is checked when they are folded. Until then one that is out of it gets
        the weight of another sample: a device that looked for its own could not be used any more.
        """
        if indices.is_cpu and self.weights is not None:
            return torch.from_numpy(self.weights.of(indices.numpy()))
        weights = self._weights_on(indices.device)
        return weights[indices.clamp(0, weights.numel() - 1)]

    def _weights_on(self, device: torch.device) -> Tensor:
        """Return the weights on a device: copied there once an epoch, by each stream in use."""
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        where = device, stream  # another one would not wait for the copy
        if where not in self._on_device and self.weights is not None:
            self._on_device[where] = copied_to(device, torch.from_numpy(self.weights.every()))
        return self._on_device[where]


def check_selection(selection: Selection, num_samples: int, method: str) -> None:
    """Check what a method has selected, because methods may be the user's own.

    Raises:
        RuntimeError: indices are no int64 tensor of shape (K,), K ≥ 1, lie outside the dataset or
            repeat; or weights are no positive finite numbers of shape (K,).
    """
    indices, weights = selection.indices, selection.weights
    wrong = None
    if (
        not isinstance(indices, Tensor)
        or indices.dtype not in (torch.int64, torch.int32)
        or indices.dim() != 1
    ):
        wrong = f"indices must be an int64 tensor of shape (K,), but {_described(indices)} was"
    elif indices.numel() == 0:
        wrong = "at least one sample must be kept, but none was"
    elif int(indices.numpy().min()) < 0 or int(indices.numpy().max()) >= num_samples:
        wrong = f"indices must be from 0 to {num_samples - 1:,}, but others were"
    elif not _are_distinct(indices.numpy()):
        wrong = "no sample may be selected twice, but one was"
    elif weights is not None:
        if not isinstance(weights, Tensor) or weights.shape != indices.shape:
            wrong = (
                f"weights must be of shape {tuple(indices.shape)}, but {_described(weights)} was"
            )
        elif not _are_positive(_as_array(weights)):
            wrong = "weights must be positive and finite, but others were"
    if wrong is not None:
        raise RuntimeError(f"select() of {method}: {wrong} returned")


def _are_distinct(indices: NDArray[np.integer[Any]]) -> bool:
    ascends = bool((indices[1:] > indices[:-1]).all())  # as what our methods return
    return ascends or count_distinct(indices) == indices.size


def _as_array(weights: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = weights.detach().to("cpu", torch.float32).numpy()
    return array


def _are_positive(weights: NDArray[np.float32]) -> bool:
    return 0 < float(weights.min()) <= float(weights.max()) < math.inf  # not so if one is NaN


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def make_plan(
    selection: Selection, num_samples: int, epoch: int, seed: int, keys: KeyTable | None = None
) -> Plan:
    """Shuffle a selection into the plan of epoch `epoch` of a dataset of `num_samples`.

    The plan of a stream, whose `keys` are given, is not shuffled: that is done as it is served.
    """
    order = selection.indices.to(index_type(num_samples))
    generator = epoch_generator(seed, epoch, stream=1)
    order = shuffled(order, generator) if keys is None else order.sort().values
    weights = None
    if selection.weights is not None:
        weights = Weights.scattered(selection.indices, selection.weights, num_samples)
        if selection.composition is not None and keys is None:
            order = selection.composition.applied(order, weights.of(order.numpy()), generator)
    return Plan(epoch, order, weights, due=order, keys=keys)


def epoch_generator(seed: int, epoch: int, stream: int = 0) -> torch.Generator:
    """Return a generator that depends on the seed, the epoch and the stream, and on nothing else.

    NumPy's `SeedSequence` mixes them well, so that seed 0 in epoch 1 has nothing to do with
    seed 1 in epoch 0. Global generators are neither read nor written.
    """
    mixed: Any = np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator("cpu").manual_seed(int(mixed) >> 1)


def copied_to(device: torch.device, values: Tensor) -> Tensor:
    """Return a tensor of the host on a device, without a wait for it."""
    if device.type == "cuda":
        values = values.contiguous().pin_memory()  # else the copy would wait
    return values.to(device, non_blocking=True)


def digest(values: Tensor) -> int:
    """Return a checksum of a tensor on the host."""
    return zlib.crc32(values.contiguous().numpy().data)
