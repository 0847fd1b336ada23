"""The part of a dataset that a rank has to itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import distributed
from torch.utils.data import Dataset

from ..utils.validation import check_integer, check_map_style
from .indexed import Wrapping, fetch


class Sharded(Wrapping, Dataset[Any]):
    """The samples of a dataset that one rank scores, selects and trains on: each rank has others.

    Without it every rank knows the scores of all samples, and each epoch deals them out anew. With
    it a rank knows those of its own N / R samples: memory, folding and planning are R times less,
    and ranks tell each other nothing but how many samples they keep. Take it where a replica for
    each rank does not fit. What it costs: a sample stays on its rank for the whole run, so does
    its state, and a run cannot go on with another number of ranks.

    Each rank has a sample of its own from all parts of the dataset, so that methods that compare
    scores with their mean, or group them, come out alike on all ranks. All have equally many: where
    N does not come out even, at most R − 1 samples belong to two ranks.

    Save the state of each rank in a file of its own.

    Arguments:
        dataset: a map-style dataset of N samples, the same on all ranks.
        rank: which part, in [0, `world_size`); by default that of `torch.distributed`.
        world_size: R, the number of parts; by default that of `torch.distributed`.

    Raises:
        TypeError: `dataset` is not map-style; `rank` or `world_size` is no integer.
        ValueError: `dataset` is empty, or `rank` is out of range.
        RuntimeError: `rank` and `world_size` were left out, and `torch.distributed` does not run.

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
            number: from 0 to the part's length.

        Raises:
            IndexError: it is none of these.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"number must be from 0 to {len(self) - 1:,}, but {number} was given")
        return (self.rank * len(self) + number) * self._stride % self.num_samples

    def __len__(self) -> int:
        return -(-self.num_samples // self.world_size)

    def __getitem__(self, number: Any) -> Any:
        return self.dataset[self.index_of(int(number))]

    def __getitems__(self, numbers: Sequence[int]) -> Any:
        """Fetch many samples at once, in the way that the dataset itself is fetched."""
        return fetch(self.dataset, [self.index_of(int(number)) for number in numbers])

    def __repr__(self) -> str:
        part = f"rank {self.rank} of {self.world_size}"
        return f"Sharded({len(self):,} of {self.num_samples:,} samples, {part})"


def _stride(num_samples: int) -> int:
    """Return a step by which all samples are visited once: near the golden section of their number.

    Datasets are often ordered, by class or by source, and a run of such an order is all alike. Any
    run of steps of this size is spread evenly over all of it.
    """
    stride = round(num_samples * (math.sqrt(5) - 1) / 2)
    while math.gcd(stride, num_samples) != 1:
        stride += 1
    return stride
