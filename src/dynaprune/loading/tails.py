"""Batch sizes at the end of an epoch: pruning alone never causes a batch of one sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import BatchSampler

from ..planning.sampler import PruningSampler


class WithoutLoneSample:
    """torch's batch sampler over a pruned epoch, without a last batch of a single sample.

    `BatchNorm1d` raises an error for such a batch. If the full epoch has none, a pruned one has
    none either: if one sample would be left, the last two batches share their samples evenly. With
    batches of two this is impossible, so that sample is left out of the epoch.

    Arguments:
        batch_sampler: torch's, over a sampler of ours.
    """

    def __init__(self, batch_sampler: BatchSampler) -> None:
        self.batch_sampler = batch_sampler

    def __iter__(self) -> Iterator[list[int]]:
        if _may_be_lone(self.batch_sampler):
            return self._spread(iter(self.batch_sampler))
        return iter(self.batch_sampler)

    def __len__(self) -> int:
        lone = drops_lone_sample(self.batch_sampler, len(self.batch_sampler.sampler))  # type: ignore[arg-type]
        return len(self.batch_sampler) - lone

    def _spread(self, batches: Iterator[list[int]]) -> Iterator[list[int]]:
        before = next(batches, None)
        for batch in batches:
            assert before is not None
            if len(batch) == 1 < len(before):
                if len(before) > 2:
                    together = before + batch
                    middle = -(-len(together) // 2)
                    yield together[:middle]
                    before = together[middle:]
                break
            yield before
            before = batch
        if before is not None:
            yield before


def batch_sizes(count: int, size: int, full: int, drop_last: bool) -> NDArray[np.int64]:
    """Return the number of samples of each batch of an epoch: shape (T,).

    Arguments:
        count: the number of samples in the epoch.
        size: B, samples per batch.
        full: the number of samples in an epoch that skips nothing.
        drop_last: whether to leave out a last batch that is smaller.
    """
    sizes = np.full(count // size, size, dtype=np.int64)
    rest = 0 if drop_last else count % size
    if rest == 1 and sizes.size > 0 and size > 1 and full % size != 1:
        if size == 2:
            return sizes
        sizes[-1] = -(-(size + 1) // 2)
        rest = size + 1 - int(sizes[-1])
    return np.append(sizes, rest) if rest else sizes


def is_ours(batch_sampler: Any) -> bool:
    """Whether a batch sampler is torch's own, over a sampler of ours."""
    return type(batch_sampler) is BatchSampler and isinstance(batch_sampler.sampler, PruningSampler)


def drops_lone_sample(batch_sampler: BatchSampler, count: int) -> bool:
    """Whether an epoch of `count` samples leaves out its last one."""
    if batch_sampler.batch_size != 2 or count <= 1 or count % 2 == 0:
        return False
    return _may_be_lone(batch_sampler)


def _may_be_lone(batch_sampler: BatchSampler) -> bool:
    """Whether pruning could cause a batch of one that full training does not have."""
    size = batch_sampler.batch_size
    if (
        size == 1
        or batch_sampler.drop_last
        or not isinstance(batch_sampler.sampler, PruningSampler)
    ):
        return False
    return batch_sampler.sampler.full_length() % size != 1
