"""Several ranks: the one collective an epoch in which they tell each other what they measured."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

from ..losses.measurements import Measurements
from ..planning.plan import Plan
from ..planning.share import share_of
from ..utils.processes import is_distributed
from .wire_format import HEADER, Message, encode, in_turn


class Ranks:
    """The processes that train together, as `torch.distributed` has them, or this one alone.

    Attributes:
        group: the process group of those that train on different samples of the same epoch; by
            default all processes.
    """

    are_apart: ClassVar[bool] = False
    """Whether each rank has samples of its own, and scores and selects by itself."""

    def __init__(self) -> None:
        self.group: Any = None
        self._bytes_a_sample = 0.0  # of a message, as agreed upon: all ranks have the same number
        self._bytes_a_batch = 8  # likewise: a last batch with fewer samples may take as many
        self._longest = 0  # message of the epoch before: what one of a stream is taken to need

    @property
    def size(self) -> int:
        """The number of ranks that divide an epoch among them: 1 where they are apart."""
        return self.world_size

    @property
    def rank(self) -> int:
        """The number of this rank among them, from 0."""
        return distributed.get_rank(self.group) if self.size > 1 else 0

    @property
    def world_size(self) -> int:
        """The number of ranks that make each training step together."""
        return distributed.get_world_size(self.group) if is_distributed() else 1

    def agree(self, facts: Mapping[str, Any], first: Measurements, plan: Plan) -> None:
        """Make sure that all ranks train the same epoch: a collective, at a run's first update.

        Arguments:
            facts: what has to be the same on all ranks, integers and strings, by name.
            first: the first batch of this rank; its loss is not needed.
            plan: of the epoch.

        Raises:
            RuntimeError: on all ranks, if a fact is not the same; the message says which.
        """
        needed = len(encode(first, self._shares(plan)[self.rank])) - HEADER.itemsize
        gathered = self._gather_numbers([*_numbers(facts), needed, first.indices.numel()])
        _check_agreement(gathered[:, : len(facts)], facts)
        sizes, samples = gathered[:, -2], gathered[:, -1]
        if samples.max() > 0:  # else an epoch has ended before the first update of any rank
            self._bytes_a_sample = float((sizes / np.maximum(1, samples)).max())
            self._bytes_a_batch = _round_up(int(sizes.max()))

    def exchange(self, own: Measurements, plan: Plan, facts: Mapping[str, Any]) -> Measurements:
        """Return what all ranks have measured in an epoch: a collective.

        A second one follows where a message needs more room than was agreed upon: in the epoch in
        which the batch size became smaller.

        Arguments:
            own: what this rank has measured.
            plan: of the epoch.
            facts: as in `agree`.

        Raises:
            RuntimeError: on all ranks, if a fact is not the same.
        """
        size, numbers = self.size, _numbers(facts)
        shares, served = self._shares(plan), max(1, -(-plan.due.numel() // size))
        body = encode(own, shares[self.rank])
        head = np.array([*numbers, len(body)], dtype=np.int64).tobytes()
        if shares[self.rank] is None:
            room = _round_up(self._longest)
        else:
            room = HEADER.itemsize + _round_up(self._bytes_a_sample * served, self._bytes_a_batch)
        sent = body if len(body) <= room else b""
        gathered = self._gather(head + sent.ljust(room, b"\0"))
        heads = np.array([np.frombuffer(message[: len(head)], np.int64) for message in gathered])
        _check_agreement(heads[:, :-1], facts)
        self._longest = longest = int(heads[:, -1].max())
        bodies = [message[len(head) :] for message in gathered]
        if longest > room:
            bodies = self._gather(body.ljust(_round_up(longest), b"\0"))
        messages = [Message(*each) for each in zip(bodies, shares, strict=True)]
        if longest > room:
            needed, steps = longest - HEADER.itemsize, max(each.num_steps for each in messages)
            self._bytes_a_sample = needed / served
            self._bytes_a_batch = max(self._bytes_a_batch, _round_up(needed / max(1, steps)))
        return in_turn(messages)

    def range_of(self, number: int) -> tuple[int, int]:
        """Return the least and the most of the numbers that the ranks give: a collective."""
        numbers = self._gather_numbers([number])
        return int(numbers.min()), int(numbers.max())

    def _shares(self, plan: Plan) -> list[NDArray[np.integer[Any]] | None]:
        """Return what each rank serves, as far as the others know: nothing of a stream."""
        if plan.keys is not None:
            return [None] * self.size
        return [share_of(plan, rank, self.size).order.numpy() for rank in range(self.size)]

    def _gather_numbers(self, numbers: list[int]) -> NDArray[np.int64]:
        """Return the numbers of all ranks, equally many, a row for each: a collective."""
        gathered = b"".join(self._gather(np.array(numbers, dtype=np.int64).tobytes()))
        return np.frombuffer(gathered, dtype=np.int64).reshape(self.world_size, -1)

    def _gather(self, message: bytes) -> list[bytes]:
        """Return the messages of all ranks, equally long, in the order of ranks: the collective."""
        device = _device(self.group)
        own = torch.from_numpy(np.frombuffer(bytearray(message), dtype=np.uint8)).to(device)
        gathered = [torch.empty_like(own) for _ in range(self.world_size)]
        distributed.all_gather(gathered, own, group=self.group)
        return [bytes(each.cpu().numpy()) for each in gathered]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "group": None}  # a group belongs to its process


class SeparateRanks(Ranks):
    """Processes that train together, each on samples of its own."""

    are_apart = True

    @property
    def size(self) -> int:
        """1: no epoch is divided."""
        return 1

    def agree(self, facts: Mapping[str, Any], first: Measurements, plan: Plan) -> None:
        """Make sure that all ranks train the same epoch of their own samples."""
        _check_agreement(self._gather_numbers(_numbers(facts)), facts)


def _device(group: Any) -> torch.device:
    """Return where the group's backend wants its messages."""
    if "cpu:" in str(distributed.get_backend_config(group)):
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def _round_up(size: float, unit: int = 8) -> int:
    """Return the next multiple of `unit` bytes."""
    return int(-(-size // unit)) * unit


def _numbers(facts: Mapping[str, Any]) -> list[int]:
    return [fact if isinstance(fact, int) else zlib.crc32(fact.encode()) for fact in facts.values()]


def _check_agreement(gathered: NDArray[np.int64], facts: Mapping[str, Any]) -> None:
    """Check that all rows, one a rank, are the same.

    Raises:
        RuntimeError: they are not.
    """
    differing = []
    for column, (name, own) in enumerate(facts.items()):
        values = gathered[:, column].tolist()
        if len(set(values)) > 1:
            if isinstance(own, int):
                said = ", ".join(f"{value} on rank {rank}" for rank, value in enumerate(values))
            else:
                said = f"here it is {own}, but not on all ranks"
            differing.append(f"{name} ({said})")
    if differing:
        raise RuntimeError(
            f"the ranks do not train the same epoch: they differ in {'; '.join(differing)}. Give "
            "all ranks the same dataset, method, arguments and seed, and resume all of them from "
            "the same checkpoint"
        )
