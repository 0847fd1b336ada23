"""Batches that are sorted by weight, so that most slices of a batch have a single weight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy


def sorted_in_batches(order: Tensor, weights: NDArray[np.float32], batch_size: int) -> Tensor:
    """Return the samples of an epoch in the order in which they are served.

    Mean loss times mean weight is not the mean of loss times weight, because the two are
    correlated: the samples with more weight are the easy ones. The two are equal if all samples of
    a slice have the same weight. Batches hold the samples that were drawn, sorted by weight: then
    all slices (`chunked`) of a batch but one have a single weight.

    Arguments:
        order: shape (K,): shuffled.
        weights: shape (K,): their weights.
        batch_size: samples per step, over all ranks.
    """
    batches = np.arange(weights.size) // batch_size
    return from_numpy(order.numpy().take(np.lexsort((weights, batches))))
