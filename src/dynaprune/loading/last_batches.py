"""The sizes of an epoch's last batches: pruning alone never causes a batch of one sample.

`BatchNorm1d` raises an error for such a batch. So if one sample would be left over, the last two
batches share their samples evenly. With batches of two this is impossible, and that sample is left
out of the epoch. If full training has a batch of one as well, batches stay as torch makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import BatchSampler

from ..planning.sampler import PruningSampler

T = TypeVar("T")


def avoids_lone_sample(batch_size: int, drop_last: bool, full_length: Callable[[], int]) -> bool:
    """Whether pruning could cause a batch of one sample that full training does not have.

    Arguments:
        batch_size: B, samples per batch.
        drop_last: whether a last batch that is smaller is left out.
        full_length: returns the number of samples in an epoch that skips nothing.
    """
    return batch_size > 1 and not drop_last and full_length() % batch_size != 1


def batch_sizes(
    num_samples: int, batch_size: int, *, drop_last: bool, avoids_lone: bool
) -> NDArray[np.int64]:
    """Return the number of samples of each batch: shape (T,).

    Arguments:
        num_samples: the number of samples in the epoch, or in the last part of it.
        batch_size: B, samples per batch.
        drop_last: whether to leave out a last batch that is smaller.
        avoids_lone: see `avoids_lone_sample`.
    """
    whole, rest = divmod(num_samples, batch_size)
    sizes = np.full(whole, batch_size, dtype=np.int64)
    if avoids_lone and rest == 1 and whole > 0:
        if batch_size == 2:
            return sizes
        rest += batch_size
        sizes[-1] = -(-rest // 2)
        rest -= int(sizes[-1])
    return np.append(sizes, rest) if rest and not drop_last else sizes


def split(samples: list[T], sizes: Iterable[int]) -> Iterator[list[T]]:
    """Yield consecutive parts of these sizes; samples after them are left out."""
    start = 0
    for size in sizes:
        yield samples[start : start + size]
        start += size


class WithoutLoneSample:
    """torch's batch sampler over a pruned epoch, without a last batch of a single sample.

    Arguments:
        batch_sampler: torch's, over a sampler of ours.
    """

    def __init__(self, batch_sampler: BatchSampler) -> None:
        self.batch_sampler = batch_sampler

    def __iter__(self) -> Iterator[list[int]]:
        if _avoids_lone_sample(self.batch_sampler):
            return self._spread(iter(self.batch_sampler))
        return iter(self.batch_sampler)

    def __len__(self) -> int:
        lone = drops_lone_sample(self.batch_sampler, len(self.batch_sampler.sampler))  # type: ignore[arg-type]
        return len(self.batch_sampler) - lone

    def _spread(self, batches: Iterator[list[int]]) -> Iterator[list[int]]:
        before = next(batches, None)
        if before is None:
            return
        for batch in batches:
            if len(batch) == 1 < len(before):
                last = before + batch
                sizes = batch_sizes(len(last), len(before), drop_last=False, avoids_lone=True)
                yield from split(last, sizes.tolist())
                return
            yield before
            before = batch
        yield before


def is_ours(batch_sampler: Any) -> bool:
    """Whether a batch sampler is torch's own, over a sampler of ours."""
    return type(batch_sampler) is BatchSampler and isinstance(batch_sampler.sampler, PruningSampler)


def drops_lone_sample(batch_sampler: BatchSampler, num_samples: int) -> bool:
    """Whether an epoch of `num_samples` leaves out its last one: only with batches of two."""
    if batch_sampler.batch_size != 2 or num_samples <= 1 or num_samples % 2 == 0:
        return False
    return _avoids_lone_sample(batch_sampler)


def _avoids_lone_sample(batch_sampler: BatchSampler) -> bool:
    sampler = batch_sampler.sampler
    return isinstance(sampler, PruningSampler) and avoids_lone_sample(
        batch_sampler.batch_size, batch_sampler.drop_last, sampler.full_length
    )
