"""Batches of an epoch as sample numbers: for data in memory or on the device."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..planning.plan import Plan
from ..planning.share import Share
from ..training.batch import Batch
from ..training.loader_pass import LoaderPass
from ..utils.devices import copied_to
from ..utils.validation import check_integer
from .last_batches import avoids_lone_sample, batch_sizes
from .serve import served

if TYPE_CHECKING:
    from ..pruned_dataset import PrunedDataset  # which creates these

AT_A_TIME = 256
"""Batches that are prepared at a time: in one loop they cost less than half as much as one by one
between training steps, when the model's code and data fill the CPU caches."""


class IndexBatches:
    """The batches of an epoch, as index tensors on a device; created by `PrunedDataset.batches`.

    Like a loader, each `iter()` runs over one epoch, and `len()` is the number of batches of the
    epoch that is served or comes next. The order of an epoch is copied to the device at once and
    asynchronously; a batch is a view of it.

    Arguments:
        train: the pruned dataset.
        batch_size: samples per batch, on this rank.
        device: the device of the indices, by default the CPU.
        drop_last: whether to leave out a last batch that is smaller.

    Raises:
        TypeError: `batch_size` is no integer, or `device` no device of torch.
        ValueError: `batch_size` is below 1.
    """

    def __init__(self, train: PrunedDataset, batch_size: int, device: Any, drop_last: bool) -> None:
        self.train = train
        self.batch_size = check_integer("batch_size", batch_size, minimum=1)
        try:
            self.device = torch.device("cpu" if device is None else device)
        except (TypeError, RuntimeError) as error:
            raise TypeError(
                f"device must be a device of torch, such as 'cuda', but {device!r} was given"
            ) from error
        self.drop_last = drop_last

    def __len__(self) -> int:
        return self._sizes(self.train.epoch_length()).size

    def __iter__(self) -> Iterator[Tensor]:
        self.train.check_batch_size(self.batch_size)
        return served(self.train, self._begin)

    def _begin(self) -> tuple[LoaderPass, Iterator[tuple[Batch, Any]]] | None:
        epochs = self.train.epochs
        with epochs.lock:
            share, _ = epochs.served_shares.begun_during(self.train.begin_epoch)
            sizes = self._sizes(len(share))
            if sizes.size == 0:
                epochs.skip_empty_epoch(share.plan)
                return None
            current = LoaderPass(share.plan, int(sizes.sum()), sizes.size, epochs.passes)
        return current, chain.from_iterable(self._tracked(share, sizes))

    def _tracked(
        self, share: Share, sizes: NDArray[np.int64]
    ) -> Iterator[Iterator[tuple[Batch, Tensor]]]:
        """Yield views of the order on the device, with what the dataset needs on the host.

        Some at a time, from iterators that run no Python code for a batch.
        """
        placed = copied_to(self.device, share.order[: int(sizes.sum())]).long()
        samples, begin = share.batches_of(sizes), 0
        for first in range(0, sizes.size, AT_A_TIME):
            counts = sizes[first : first + AT_A_TIME].tolist()
            part = placed[begin : (begin := begin + sum(counts))]
            ready: deque[tuple[Batch, Tensor] | None] = deque()
            ready.extend(_batches(share.plan, part, counts, samples))
            ready.append(None)
            yield iter(ready.popleft, None)  # only the loop holds on to a batch

    def _sizes(self, count: int) -> NDArray[np.int64]:
        size, drops = self.batch_size, self.drop_last
        avoids_lone = avoids_lone_sample(size, drops, self.train.full_length)
        return batch_sizes(count, size, drop_last=drops, avoids_lone=avoids_lone)


def _batches(
    plan: Plan, part: Tensor, counts: list[int], samples: Iterator[tuple[NDArray[np.int64], float]]
) -> Iterator[tuple[Batch, Tensor]]:
    """Return the batches of a part of the order, without Python code for each of them."""
    views, weights = torch.split(part, counts), plan.sample_weights(part)
    own = torch.split(weights, counts) if isinstance(weights, Tensor) else repeat(None)
    indices, means = zip(*islice(samples, len(counts)), strict=True)
    leaves = zip(map(weakref.ref, views), strict=True)
    return zip(map(Batch, indices, means, own, leaves, counts), views, strict=True)
