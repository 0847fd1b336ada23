"""The samples that a method selects for an epoch, and a check of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..utils.sampling import count_distinct
from .weights import as_array


@dataclass(frozen=True)
class Selection:
    """The samples that a method keeps for an epoch.

    Attributes:
        indices: int64 or int32, shape (K,): the kept samples, in any order, without duplicates.
        weights: float32, shape (K,): the factor of each sample's loss; `None` if all are 1, which
            saves memory.
        batch_size: samples per step, over all ranks, if the samples of each batch are to be sorted
            by weight (see `sorted_in_batches`); not used for streams.
    """

    indices: Tensor
    weights: Tensor | None = None
    batch_size: int | None = None


def check_selection(selection: Selection, num_samples: int, method: str) -> None:
    """Check the selection of a method, because methods may be the user's own.

    Raises:
        RuntimeError: indices are no int64 or int32 tensor of shape (K,), K ≥ 1, lie outside the
            dataset or repeat; or weights are no positive finite numbers of shape (K,).
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
        elif not _are_positive(as_array(weights)):
            wrong = "weights must be positive and finite, but others were"
    if wrong is not None:
        raise RuntimeError(f"select() of {method}: {wrong} returned")


def _are_distinct(indices: NDArray[np.integer[Any]]) -> bool:
    ascends = bool((indices[1:] > indices[:-1]).all())  # as the indices of our methods do
    return ascends or count_distinct(indices) == indices.size


def _are_positive(weights: NDArray[np.float32]) -> bool:
    return 0 < float(weights.min()) <= float(weights.max()) < math.inf  # False if one is NaN


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
