"""The batches of a pruned epoch, grouped by the batch samplers of sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import BatchSampler

from ...planning.share import Share, ShareRequest
from ...pruned_dataset import PrunedDataset

WHOLE = ShareRequest(world_size=1, rank=0)
"""All ranks group the whole epoch alike, and divide its batches: a group belongs together."""


class GroupedBatches(BatchSampler):
    """A batch sampler that lets another one group the samples of each pruned epoch.

    With several ranks each one serves every R-th batch, and equally many: a few batches at the
    start of the epoch are repeated if needed.

    Arguments:
        pruned: the pruned dataset.
        group: returns a batch sampler of the kept samples, given their indices, shape (K,), in
            ascending order, and the number of the epoch. Its batches are positions in the indices.
        batch_size: samples per batch.
        drop_last: whether to leave out batches that are smaller.
    """

    def __init__(
        self,
        pruned: PrunedDataset,
        group: Callable[[NDArray[np.int64], int], Any],
        batch_size: int,
        drop_last: bool,
    ) -> None:
        super().__init__(pruned.sampler, batch_size, drop_last)
        self._pruned = pruned
        self._group = group
        self._last: tuple[NDArray[np.int64], int, Any] | None = None

    def __iter__(self) -> Iterator[list[int]]:
        # not a generator function: the epoch begins now, not when the first batch is requested
        samples, _, batches = self._grouped(self._pruned.begin_epoch(WHOLE))
        ranks = self._pruned.epochs.ranks
        return _every(_samples_of(batches, samples), ranks.rank, ranks.size)

    def __len__(self) -> int:
        return self._length_of(self._grouped(self._pruned.coming_share(WHOLE))[2])

    @cached_property  # making a batch sampler may read a column of the dataset
    def batches_per_full_epoch(self) -> int:
        """The number of batches of an epoch that skips nothing, in this process."""
        return self._length_of(self._group(np.arange(len(self._pruned)), 0))

    def _length_of(self, batches: Any) -> int:
        return -(-len(batches) // self._pruned.epochs.ranks.size)

    def _grouped(self, share: Share) -> tuple[NDArray[np.int64], int, Any]:
        """Return the samples of a share, the number of its epoch, and their batch sampler."""
        samples, epoch = np.sort(share.order.numpy()).astype(np.int64), share.plan.epoch
        last = self._last  # the length is asked for before the epoch begins, and often
        if last is None or last[1] != epoch or not np.array_equal(last[0], samples):
            self._last = last = samples, epoch, self._group(samples, epoch)
        return last


def _samples_of(batches: Iterable[list[int]], samples: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield batches of samples, given batches of positions in `samples`."""
    for batch in batches:
        yield samples[batch].tolist()


def _every(batches: Iterator[list[int]], rank: int, size: int) -> Iterator[list[int]]:
    """Yield every `size`-th batch, from number `rank` on: equally many on each rank."""
    first: list[list[int]] = []
    while group := list(islice(batches, size)):
        first = first or group
        yield list(islice(cycle(group + first if len(group) < size else group), size))[rank]
