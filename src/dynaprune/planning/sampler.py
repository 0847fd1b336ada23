"""The sampler that serves an epoch's plan, one index at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Protocol

from torch.utils.data import DistributedSampler, Sampler

from ..utils.validation import check_integer
from .share import Drawn, Share, ShareRequest

logger = logging.getLogger("dynaprune")


class EpochSource(Protocol):
    """What a sampler needs to know of the run."""

    @property
    def epoch(self) -> int:
        """The number of the epoch that is being served or comes next, from 0."""

    def begin_epoch(self, request: ShareRequest) -> Share:
        """Return the share of the epoch that begins now."""

    def epoch_length(self, request: ShareRequest) -> int:
        """Return the number of samples in a share of the epoch that is served or comes next."""

    def full_length(self, request: ShareRequest) -> int:
        """Return the number of samples in a share of an epoch that skips nothing."""


class PruningSampler(DistributedSampler[Any]):
    """Serves the samples that an epoch keeps, shuffled, as indices into the whole dataset.

    Created by `PrunedDataset.sampler`. Each `iter()` is a fresh iterator over one epoch, and
    `len()` is the length of that epoch, even before its first batch.

    If `torch.distributed` runs with several ranks, each rank serves its share of the same epoch:
    equally many samples, each sample on one rank. It is a `DistributedSampler`, so that frameworks
    do not wrap it in one, which would divide the epoch a second time.

    Arguments:
        source: the pruned dataset.
        drop_last: with several ranks, whether to leave out samples at the end so that the epoch
            divides evenly; otherwise a few samples are served on two ranks.
        world_size: the number of shares; by default that of `torch.distributed`. Give 1 if
            something else divides the batches among ranks.
        rank: which share to serve, in [0, world_size); by default that of `torch.distributed`.

    Raises:
        TypeError: `world_size` or `rank` is no integer.
        ValueError: only one of them was given (except `world_size=1`), or `rank` is out of range.
    """

    def __init__(
        self,
        source: EpochSource,
        *,
        drop_last: bool = False,
        world_size: int | None = None,
        rank: int | None = None,
    ) -> None:
        Sampler.__init__(self)  # DistributedSampler's needs torch.distributed to be initialized
        self.source = source
        self.drop_last = drop_last
        self.world_size, self.rank = _check_ranks(world_size, rank)  # type: ignore[assignment]
        self._start: int | None = None  # of the next iterator, if a loader counts what was served
        self._before, self._drawn = 0, Drawn()

    def __iter__(self) -> Iterator[int]:
        # not a generator function: the epoch begins now, not when the first index is requested
        start, self._start = self._start, None
        self._drawn = Drawn()  # frees the memory of the previous epoch before the next plan is made
        share = self.source.begin_epoch(self._request(start))
        self._before, self._drawn = share.served_before, share.drawn
        return self._drawn.integers(share.order)

    def __len__(self) -> int:
        """Return the number of samples of the epoch that is served or comes next."""
        return self.source.epoch_length(self._request())

    def _request(self, start: int | None = None) -> ShareRequest:
        return ShareRequest(self.world_size, self.rank, self.drop_last, start)

    def full_length(self) -> int:
        """Return the number of samples that an epoch would have if it skipped nothing."""
        return self.source.full_length(self._request())

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch's number, and how many of its samples were served.

        For loaders that count served samples themselves, such as torchdata's `StatefulDataLoader`.
        The state of the pruned dataset has the scores and the position, so it is enough to resume.
        """
        drawn = self._drawn
        served = self._before + drawn.count()  # including those before a checkpoint
        return {"epoch": self.source.epoch, "served": served, "left": drawn.left()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iterator start where the loader was.

        Arguments:
            state: what `state_dict` returned.

        Raises:
            RuntimeError: the pruned dataset was not restored first.
        """
        if self.source.epoch < state["epoch"]:
            raise RuntimeError(
                f"the loader's state was taken in epoch {state['epoch']}, but the pruned dataset "
                f"is in epoch {self.source.epoch}: restore the pruned dataset first, by "
                "train.load_state_dict(...)"
            )
        self._start = int(state["served"]) if self.source.epoch == state["epoch"] else None
        if self._start is None and state["left"] > 0:
            logger.warning(
                "the loader's state is from epoch %d, %d samples before its end, but the pruned "
                "dataset has moved on to epoch %d: if the loader skips batches now, they are "
                "missing from this epoch. The state of the pruned dataset is enough to resume: "
                "load it alone",
                state["epoch"],
                state["left"],
                self.source.epoch,
            )

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the pruned dataset counts epochs. Loops for `DistributedSampler` call this.

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
