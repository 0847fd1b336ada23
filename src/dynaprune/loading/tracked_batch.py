"""A batch with its samples, as it travels from a worker to the training process."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class StreamCheck(NamedTuple):
    """What tells whether all workers have read the same stream.

    Attributes:
        before: a checksum of all samples that the pass kept up to the one served before this batch
            on the same rank.
        after: the same, up to the last sample of this batch.
        first: the fingerprint of the pass's first sample.
    """

    before: int
    after: int
    first: int


class TrackedBatch(NamedTuple):
    """A batch and its samples; a named tuple, because torch pins the contents of those.

    Attributes:
        indices: int64, shape (B,): the indices of its samples; of a stream, the fingerprints of
            their keys.
        batch: what the loop gets.
        weights: float32, shape (B,): of a stream, the weights of its samples.
        check: of a stream, what tells whether workers agree.
    """

    indices: NDArray[np.int64]
    batch: Any
    weights: NDArray[np.float32] | None = None
    check: StreamCheck | None = None
