"""Serving an epoch's plan, one index at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler

from .share import Share
from .validation import check_integer

CHUNK = 65_536
"""Indices that are turned into Python integers at a time: 2 MiB of them, however long the epoch."""


class EpochSource(Protocol):
    """What a sampler serves the epochs of."""

    @property
    def epoch(self) -> int:
        """The number of the epoch that is being served or about to be, from 0."""

    def begin_epoch(self, world_size: int | None, rank: int | None, drop_last: bool) -> Share:
        """Return the share of the epoch that begins now."""

    def epoch_length(self, world_size: int | None, rank: int | None, drop_last: bool) -> int:
        """Return the number of samples in a share of the epoch that is served or about to be."""

    def full_length(self, world_size: int | None, drop_last: bool) -> int:
        """Return the number of samples in a share of an epoch that skips nothing."""


class PruningSampler(DistributedSampler[Any]):
    """Serves the samples that an epoch keeps, shuffled, as indices into the whole dataset.

    Made by `PrunedDataset.sampler`. Each `iter()` is a fresh iterator over one epoch, and `len()`
    is that epoch's length, before its first batch already.

    Where `torch.distributed` runs with several ranks, each one serves its share of the same epoch:
    equally many samples, every sample on one rank. It is a `DistributedSampler` for frameworks that
    would otherwise put one around it, and divide the epoch a second time.

    Arguments:
        source: the pruned dataset.
        drop_last: with several ranks, whether samples at the end are left out, so that the epoch
            can be divided evenly; without it, as many are served on two ranks as are missing.
        world_size: the number of shares; by default that of `torch.distributed`. Give 1 where
            something else divides the batches among ranks.
        rank: which share to serve, in [0, world_size); by default that of `torch.distributed`.

    Raises:
        TypeError: `world_size` or `rank` is no integer.
        ValueError: only one of them was given (but for `world_size=1`), or `rank` is out of range.
    """

    def __init__(
        self,
        source: EpochSource,
        *,
        drop_last: bool = False,
        world_size: int | None = None,
        rank: int | None = None,
    ) -> None:
        Sampler.__init__(self)  # that of DistributedSampler wants torch.distributed to run already
        self.source = source
        self.drop_last = drop_last
        self.world_size, self.rank = _check_ranks(world_size, rank)  # type: ignore[assignment]

    def __iter__(self) -> Iterator[int]:
        # no generator itself: the epoch begins now, not when the first index is asked for
        share = self.source.begin_epoch(self.world_size, self.rank, self.drop_last)
        return _integers(share.order)

    def __len__(self) -> int:
        return self.source.epoch_length(self.world_size, self.rank, self.drop_last)

    def full_length(self) -> int:
        """Return the number of samples that an epoch would have if it skipped nothing."""
        return self.source.full_length(self.world_size, self.drop_last)

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch's number: the position in it is in the state of the pruned dataset.

        A loader that sees this method, as torchdata's `StatefulDataLoader`, leaves the skipping of
        what was served to the sampler.
        """
        return {"epoch": self.source.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Check that the pruned dataset was resumed: it is what tells which samples are due.

        Arguments:
            state: of `state_dict`.

        Raises:
            RuntimeError: it was not.
        """
        if self.source.epoch < state["epoch"]:
            raise RuntimeError(
                f"the loader's state was taken in epoch {state['epoch']}, but the pruned dataset "
                f"is in epoch {self.source.epoch}: give it its own state first, by "
                "train.load_state_dict(...)"
            )

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the pruned dataset counts the epochs. Loops for `DistributedSampler` call it.

        Arguments:
            epoch: any number.
        """


def _check_ranks(world_size: int | None, rank: int | None) -> tuple[int | None, int | None]:
    if world_size is None and rank is None:
        return None, None
    if world_size == 1 and rank is None:
        return 1, 0
    if world_size is None or rank is None:
        raise ValueError(
            f"give world_size and rank, or neither: world_size={world_size!r} and rank={rank!r} "
            "were given"
        )
    check_integer("world_size", world_size, minimum=1)
    check_integer("rank", rank, minimum=0)
    if rank >= world_size:
        raise ValueError(f"rank must be below world_size={world_size}, but {rank} was given")
    return world_size, rank


def _integers(order: Tensor) -> Iterator[int]:
    """Yield a tensor of shape (K,) as Python integers, a chunk at a time."""
    for start in range(0, order.numel(), CHUNK):
        yield from order[start : start + CHUNK].tolist()
