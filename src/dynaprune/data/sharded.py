"""A dataset that is partitioned among ranks for the whole run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import distributed
from torch.utils.data import Dataset

from ..utils.validation import check_integer, check_map_style
from .indexed import Wrapping, fetch


class Sharded(Wrapping, Dataset[Any]):
    """The part of a dataset that one rank scores, selects from and trains on; parts are disjoint.

    Without it every rank holds the scores of all samples, and each epoch distributes the samples
    anew. With it a rank holds only the scores of its own N / R samples: memory, folding and
    planning are R times less, and ranks exchange only how many samples they keep. Use it if a full
    copy of the scores on each rank does not fit. The cost: a sample, and its state, stays on one
    rank for the whole run, and a run cannot resume with another number of ranks.

    Each part is spread evenly over the dataset, so that methods that compare scores with their
    mean, or group them, behave alike on all ranks. All parts have the same size: if N is not
    divisible by R, at most R − 1 samples belong to two ranks.

    Save the state of each rank to its own file.

    Arguments:
        dataset: a map-style dataset of N samples, the same on all ranks.
        rank: which part, in [0, `world_size`); by default that of `torch.distributed`.
        world_size: R, the number of parts; by default that of `torch.distributed`.

    Raises:
        TypeError: `dataset` is not map-style; `rank` or `world_size` is no integer.
        ValueError: `dataset` is empty, or `rank` is out of range.
        RuntimeError: `rank` and `world_size` were left out, but `torch.distributed` is not running.

    Example:
        >>> from dynaprune import BLS, InfoBatch, Sharded
        >>> train = BLS(InfoBatch(Sharded(range(10), rank=1, world_size=4), num_epochs=9)).proxy()
        >>> len(train), [train[i] for i in range(3)]
        (3, [1, 8, 5])
    """

    def __init__(
        self, dataset: Any, *, rank: int | None = None, world_size: int | None = None
    ) -> None:
        self.num_samples = check_map_style(dataset)
        self.dataset = dataset
        if rank is None and world_size is None:
            if not (distributed.is_available() and distributed.is_initialized()):
                raise RuntimeError(
                    "Sharded(dataset) divides the samples among the ranks of torch.distributed, "
                    "which is not running: call init_process_group() first, or give rank and "
                    "world_size"
                )
            rank, world_size = distributed.get_rank(), distributed.get_world_size()
        if rank is None or world_size is None:
            raise ValueError(
                f"give rank and world_size, or neither: rank={rank!r} and "
                f"world_size={world_size!r} were given"
            )
        self.world_size = check_integer("world_size", world_size, minimum=1)
        self.rank = check_integer("rank", rank, minimum=0)
        if self.rank >= self.world_size:
            raise ValueError(f"rank must be below world_size={world_size}, but {rank} was given")
        self._stride = _stride(self.num_samples)

    def index_of(self, number: int) -> int:
        """Return the index in the whole dataset of a sample of this part.

        Arguments:
            number: the sample's number in this part, from 0 to `len(self)` − 1.

        Raises:
            IndexError: `number` is out of range.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"number must be from 0 to {len(self) - 1:,}, but {number} was given")
        return (self.rank * len(self) + number) * self._stride % self.num_samples

    def __len__(self) -> int:
        return -(-self.num_samples // self.world_size)

    def __getitem__(self, number: Any) -> Any:
        return self.dataset[self.index_of(int(number))]

    def __getitems__(self, numbers: Sequence[int]) -> Any:
        """Fetch several samples at once, the way the dataset itself is fetched."""
        return fetch(self.dataset, [self.index_of(int(number)) for number in numbers])

    def __repr__(self) -> str:
        part = f"rank {self.rank} of {self.world_size}"
        return f"Sharded({len(self):,} of {self.num_samples:,} samples, {part})"


def _stride(num_samples: int) -> int:
    """Return a stride that visits all samples once: coprime to N and near N times the golden ratio.

    Datasets are often ordered, by class or by source, so a contiguous part would be one-sided.
    Consecutive steps of this stride are spread evenly over the whole dataset.
    """
    stride = round(num_samples * (math.sqrt(5) - 1) / 2)
    while math.gcd(stride, num_samples) != 1:
        stride += 1
    return stride
