"""Batches composed by weight, so that the samples behind each loss have the same weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Composition:
    """How the samples of a shuffled epoch are put into batches.

    Mean loss times mean weight is not the mean of loss times weight, because the two are
    correlated: the samples with more weight are the easy ones. The two are equal if all samples of
    a batch, or of a slice of it, have the same weight.

    Attributes:
        batch_size: B, samples per step, over all ranks.
        is_pure: whether all samples of a full batch have the same weight, except in one batch at
            each change of weights. Otherwise batches stay as they were drawn, and the samples in
            each are sorted by weight: then all its slices (`chunked`) but one have a single weight.
    """

    batch_size: int
    is_pure: bool

    def applied(
        self, order: Tensor, weights: NDArray[np.float32], generator: torch.Generator
    ) -> Tensor:
        """Return the samples of an epoch in the order in which they are to be served.

        Arguments:
            order: shape (K,): shuffled.
            weights: shape (K,): their weights.
            generator: the source of all randomness.
        """
        places = self._pure(weights, generator) if self.is_pure else self._sorted_inside(weights)
        return torch.from_numpy(order.numpy().take(places))

    def _sorted_inside(self, weights: NDArray[np.float32]) -> NDArray[np.int64]:
        batches = np.arange(weights.size) // self.batch_size
        return np.lexsort((weights, batches))

    def _pure(self, weights: NDArray[np.float32], generator: torch.Generator) -> NDArray[np.int64]:
        whole = weights.size // self.batch_size
        # the incomplete batch keeps the mix of weights that was drawn: a loader may drop it
        rest = weights.size - whole * self.batch_size
        places = rest + np.argsort(weights[rest:], kind="stable")
        shuffled = torch.randperm(whole, generator=generator, device="cpu").numpy()
        full = places.reshape(whole, self.batch_size)[shuffled]
        return np.concatenate([full.ravel(), np.arange(rest)])
