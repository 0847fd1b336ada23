"""Which samples each micro-batch of the Trainer holds.

The Trainer fetches all micro-batches of an optimizer step before it trains on the first one. So the
samples of each are recorded when it is fetched, and found again by the identity of its inputs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class MicroBatch:
    """One of the batches of an optimizer step.

    Attributes:
        inputs: the batch as the loader yields it.
        indices: shape (B,): its samples.
        is_scored: whether its loss was reported.
    """

    inputs: Any
    indices: Tensor
    is_scored: bool = False


class MicroBatches:
    """The micro-batches that the Trainer has fetched but not trained on yet."""

    def __init__(self) -> None:
        self._fetched: deque[MicroBatch] = deque()

    def recorded(self, fetcher: Any) -> _Recording:
        """Return a fetcher that yields the same batches, and records them here."""
        return _Recording(fetcher, self._fetched)

    def take(self, inputs: Any) -> MicroBatch:
        """Return the record of a fetched batch, and forget those before it.

        Raises:
            RuntimeError: the training loader has not yielded this object.
        """
        while self._fetched:
            # earlier batches were only inspected, or belong to a run that was stopped
            if (micro_batch := self._fetched.popleft()).inputs is inputs:
                return micro_batch
        raise RuntimeError(
            "training_step was given a batch that the training loader has not yielded, so its "
            "samples are unknown: change batches in the collator, in _prepare_inputs or in "
            "compute_loss, but not in get_batch_samples"
        )

    def clear(self) -> None:
        """Forget all fetched micro-batches."""
        self._fetched.clear()


class _Recording:
    """Records the samples of each batch, and yields the batch unchanged.

    Arguments:
        fetcher: yields indices and batches.
        fetched: the queue to which they are appended.
    """

    def __init__(self, fetcher: Any, fetched: deque[MicroBatch]) -> None:
        self.fetcher, self.fetched = fetcher, fetched

    def __iter__(self) -> Iterator[Any]:
        for each in self.fetcher:
            indices = torch.from_numpy(each.indices)
            self.fetched.append(MicroBatch(each.batch, indices))
            yield each
