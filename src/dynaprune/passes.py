"""Which batch is at hand, while loaders run over an epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .plan import Plan


class Pass:
    """One run of a `DataLoader` over an epoch, from its first batch to its end or a `break`.

    A loop may look at a batch of the same loader while it is in the middle of an epoch, as with
    `next(iter(loader))`. Each such run is a pass of its own, and when it closes, the batch at hand
    is again the one of the pass around it.

    Arguments:
        outer: the pass that is under way while this one begins, if any.
        times_begun: how often the sampler had been asked for an epoch before; it is asked again
            for the pass's first batch, or the loader does not use it.

    Attributes:
        plan: the plan that the pass serves; known with its first batch.
        batch: the samples of the batch at hand, int64, shape (B,), until `update` has taken it.
        mean_weight: the mean weight of these samples.
        is_open: whether more batches may come.
    """

    is_open: bool

    __slots__ = ("batch", "is_open", "mean_weight", "outer", "plan", "times_begun")

    def __init__(self, outer: Pass | None, times_begun: int) -> None:
        self.is_open = True
        self.times_begun = times_begun
        self.outer = outer if outer is not None and outer.is_open else None
        self.plan: Plan | None = None
        self.batch: NDArray[np.int64] | None = None
        self.mean_weight: float | Tensor = 1.0
