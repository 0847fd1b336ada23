"""A batch that was yielded: its samples and weights, and whether the loop still holds it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..losses.measurements import Indices
from ..utils.nested import first_leaves


@dataclass(slots=True, eq=False)  # one a step: frozen, it would take three times as long
class Batch:
    """A batch that was yielded and has no update yet.

    Attributes:
        indices: its samples; of a stream, the fingerprints of their keys.
        mean_weight: their mean weight.
        weights: float32, shape (B,): their weights, if the plan does not know them, as for a
            stream, or if they are on a device already.
        leaves: its first tensors.
        rows: the length of one of them that has a row for each sample, or of the first; 0 for none.
    """

    indices: Indices
    mean_weight: float | Tensor
    weights: NDArray[np.float32] | Tensor | None
    leaves: tuple[weakref.ref[Any], ...]
    rows: int

    def __len__(self) -> int:
        return len(self.indices)

    def is_alive(self) -> bool:
        """Whether one of its tensors still exists."""
        return any(leaf() is not None for leaf in self.leaves)

    def is_gone(self) -> bool:
        """Whether it had tensors, and none of them exists any more."""
        return bool(self.leaves) and not self.is_alive()

    def is_part_of(self, given: Any) -> bool:
        """Whether `given` is this batch, or one of its tensors."""
        leaves = [leaf() for leaf in self.leaves]
        return any(any(each is leaf for leaf in leaves) for each in first_leaves(given))


def batch_of(
    content: Any,
    indices: Indices,
    mean_weight: float | Tensor,
    weights: NDArray[np.float32] | Tensor | None = None,
) -> Batch:
    """Return what is known of a batch that is about to be yielded.

    Arguments:
        content: what the loop gets.
        indices: see `Batch`.
        mean_weight: see `Batch`.
        weights: see `Batch`.
    """
    leaves = first_leaves(content)
    rows, num_samples = _rows_of(leaves[0]) if leaves else 0, indices.shape[0]
    if leaves and rows != num_samples and num_samples in map(_rows_of, leaves):
        rows = num_samples
    return Batch(indices, mean_weight, weights, tuple(map(weakref.ref, leaves)), rows)


def _rows_of(leaf: Any) -> int:
    is_array = isinstance(leaf, (Tensor, np.ndarray)) and leaf.ndim > 0
    return leaf.shape[0] if is_array else 0
