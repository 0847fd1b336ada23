"""The buffer that `update` writes to, and its one trip to the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..losses.measurements import Indices
from ..utils.sampling import count_distinct
from .chunk_sizes import slice_sizes
from .measurements import Batches

PENDING = 64
"""Steps that are kept one by one before they are packed."""


@dataclass(frozen=True)
class _Packed:
    """Steps that were packed: never written to again.

    Attributes:
        followed: samples that came in the known order, from its first one on.
        blocks: the samples after them.
        lengths: samples of each step.
        counts: measurements of each step: 1, one a slice, or one a sample.
        losses: of all steps, in order.
        visits: samples in all steps.
        last: the samples of the last step, as they were given.
    """

    followed: int = 0
    blocks: tuple[Tensor, ...] = ()
    lengths: tuple[NDArray[np.int64], ...] = ()
    counts: tuple[NDArray[np.int64], ...] = ()
    losses: tuple[Tensor, ...] = ()
    visits: int = 0
    last: Indices | None = None

    @property
    def num_steps(self) -> int:
        return sum(each.size for each in self.lengths)


@dataclass
class _Pending:
    """The last steps, one by one, after those that were packed.

    Attributes:
        packed: the steps before.
        staging: room for the mean loss of each step, on one device.
        slots: views of it, of shape (1,).
        steps: the samples of each step, and its losses if there are several.
        has_several: whether there may be steps of several losses.
        has_tensors: whether samples may lie on a device.
        stream: of CUDA, in which these steps were recorded, by its handle.
    """

    packed: _Packed
    staging: Tensor = field(default_factory=lambda: torch.empty(0, device="cpu"))
    slots: tuple[Tensor, ...] = ()
    steps: list[tuple[Indices, Tensor | None]] = field(default_factory=list)
    has_several: bool = False
    has_tensors: bool = False
    stream: int | None = None


class LossRecord:
    """Losses as they were reported, on whatever device they were, with their samples.

    A loss is copied where it is, because the user's tensor may be written to afterwards
    (`loss /= steps`, a CUDA graph's replay); nothing is read and nothing moves. Mean losses go to
    slots that are used over and over: a tensor of its own for each would take a hundred times the
    memory, and twice the time.

    Samples take no memory as long as they come in the order in which they are served: then they
    are a part of that order, which is there anyway.

    A step is there once it is in `steps` of `_Pending`, and packing replaces `_Pending` by another:
    each is one operation of the interpreter. So Ctrl-C, or a handler of a signal that raises,
    leaves the record with a step or without it, and never with half of one. What reads the record
    changes nothing: such a handler may read it while a step is being appended.

    Arguments:
        order: shape (K,): the samples in the order in which they are served, if that is known.
    """

    def __init__(self, order: Tensor | None = None) -> None:
        self._order = torch.empty(0, dtype=torch.int32, device="cpu") if order is None else order
        self._pending = _Pending(_Packed())

    def __len__(self) -> int:
        pending = self._pending
        return pending.packed.num_steps + len(pending.steps)

    def __bool__(self) -> bool:
        return bool(self._pending.steps) or self._pending.packed.visits > 0

    @property
    def num_visits(self) -> int:
        """The number of samples in the recorded batches."""
        pending = self._pending
        return pending.packed.visits + sum(len(indices) for indices, _ in pending.steps)

    @property
    def last(self) -> Indices | None:
        """The samples of the last step, the same object that was given."""
        pending = self._pending
        return pending.steps[-1][0] if pending.steps else pending.packed.last

    def is_in_order(self) -> bool:
        """Whether all samples came in the known order, none twice."""
        return not self._packed().blocks

    def num_distinct(self) -> int:
        """Return how many different samples were recorded; those on a device count as such."""
        packed = self._packed()
        if any(each.device.type != "cpu" for each in packed.blocks):
            return packed.visits  # to read them would wait for the device
        return count_distinct(self._samples(packed).numpy())

    def append(self, indices: Indices, loss: Tensor) -> None:
        """Record one step: `indices` of shape (B,), `loss` with one element for each slice."""
        pending = self._pending
        if loss.is_cuda:
            stream = _recording_stream(loss.device)
            if pending.stream != stream or pending.staging.device != loss.device:
                pending = self._pack(loss.device, stream)
        place = len(pending.steps)
        if place == PENDING:
            pending, place = self._pack(), 0
        if isinstance(indices, Tensor):
            pending.has_tensors = True
        if loss.numel() > 1:
            pending.has_several = True
            pending.steps.append((indices, loss.detach().clone()))
            return
        if pending.staging.device != loss.device or not pending.slots:
            pending, place = self._pack(loss.device), 0
        pending.slots[place].copy_(loss.detach())
        pending.steps.append((indices, None))

    def first(self) -> Batches:
        """Return the first step with losses of 0, which tells its form without reading a loss."""
        packed = self._packed()
        if packed.visits == 0:
            return Batches.none()
        lengths, counts = packed.lengths[0][:1], packed.counts[0][:1]
        sizes = slice_sizes(lengths, counts)
        nothing = torch.zeros(sizes.size, dtype=torch.int64, device="cpu")
        indices = self._samples(packed)[: int(lengths[0])]
        return Batches(indices, torch.from_numpy(sizes), nothing.float(), nothing)

    def batches(self) -> Batches:
        """Move the losses to the host, in one copy a device, and return them with their samples."""
        self._wait()
        packed = self._packed()
        if packed.visits == 0:
            return Batches.none()
        lengths, counts = np.concatenate(packed.lengths), np.concatenate(packed.counts)
        steps = np.repeat(np.arange(lengths.size), counts)
        return Batches(
            indices=self._samples(packed),
            sizes=torch.from_numpy(slice_sizes(lengths, counts)),
            losses=_to_host(packed.losses).float(),
            steps=torch.from_numpy(steps),
        )

    def _samples(self, packed: _Packed) -> Tensor:
        """Return the samples of all steps, on the host: shape (M,)."""
        followed = self._order[: packed.followed]
        return _to_host((followed, *packed.blocks)) if packed.blocks else followed

    def _packed(self) -> _Packed:
        """Return all steps packed, and leave them as they are."""
        return _packed(self._pending, self._order)

    def _wait(self) -> None:
        """Wait until all streams have written what was recorded: the reader may be on another."""
        losses = [*self._pending.packed.losses, self._pending.staging]
        for device in {each.device for each in losses if each.is_cuda}:
            torch.cuda.synchronize(device)

    def _pack(self, device: torch.device | None = None, stream: int | None = None) -> _Pending:
        """Pack the pending steps, and return what the next ones are appended to.

        A stream of CUDA does not wait for another. So each gets slots of its own, and what it has
        written there is not touched before all is read.

        Arguments:
            device: where the next mean loss is, if it is elsewhere than those before.
            stream: in which it is there, if the device is one of CUDA.
        """
        before = self._pending
        if device is None:
            staging, slots, stream = before.staging, before.slots, before.stream
        else:
            with torch.inference_mode(False):  # else no slot could be written to outside of it
                staging = torch.empty(PENDING, dtype=torch.float32, device=device)
            slots = torch.split(staging, 1)
        packed = _packed(before, self._order, joins=device is None)
        self._pending = after = _Pending(packed, staging, slots, stream=stream)
        return after

    def __getstate__(self) -> dict[str, Any]:
        self._wait()
        # a pickle's slots would be views of nothing
        return {**vars(self), "_pending": _Pending(self._packed())}


def _recording_stream(device: torch.device) -> int:
    """Return the handle of the stream of CUDA in which a step is recorded.

    Raises:
        RuntimeError: a CUDA graph is captured in it: replays would write to the same place, each
            over the one before.
    """
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "update() was called while a CUDA graph is being captured, so no replay would be "
            "scored: call it outside of the graph, after each replay, with the loss that the graph "
            "wrote. Inside the graph, multiply the loss by a static tensor, and copy "
            "train.batch_weight to that tensor before each replay (docs/loops.md, mixed precision)"
        )
    return torch.cuda.current_stream(device).cuda_stream


def _packed(pending: _Pending, order: Tensor, joins: bool = True) -> _Packed:
    """Return all steps packed.

    Arguments:
        pending: the last ones, and those that were packed before.
        order: see `LossRecord`.
        joins: whether tensors are made of several, and slots are used again; else what lies on a
            device is taken as it is.
    """
    before, steps = pending.packed, pending.steps
    if not steps:
        return before
    samples = [indices for indices, _ in steps]
    lengths = np.fromiter(map(len, samples), np.int64, len(samples))
    counts = np.ones_like(lengths)
    if pending.has_several:
        counts[:] = [1 if each is None else each.numel() for _, each in steps]
    followed, blocks = before.followed, before.blocks
    for block in _blocks(samples, pending.has_tensors, joins):
        if not blocks and _continues(order, followed, block):
            followed += block.numel()
        else:
            blocks = (*blocks, block.to(order.dtype) if block.device.type == "cpu" else block)
    return _Packed(
        followed,
        blocks,
        (*before.lengths, lengths),
        (*before.counts, counts),
        (*before.losses, *_losses(pending, joins)),
        before.visits + int(lengths.sum()),
        samples[-1],
    )


def _losses(pending: _Pending, joins: bool) -> list[Tensor]:
    """Return the losses of all pending steps, in order."""
    means = pending.staging[: len(pending.steps)]
    if joins:
        means = means.clone()
    if not pending.has_several:
        return [means]
    slots = torch.split(means, 1)
    several = [
        slots[place] if each is None else each for place, (_, each) in enumerate(pending.steps)
    ]
    return _joined(several) if joins else several


def _blocks(samples: Sequence[Indices], has_tensors: bool, joins: bool) -> list[Tensor]:
    """Return the samples of several steps in as few tensors as can be."""
    if not has_tensors:
        return [torch.from_numpy(np.concatenate(samples))]
    tensors = [each if isinstance(each, Tensor) else torch.from_numpy(each) for each in samples]
    return _joined(tensors) if joins else tensors


def _joined(vectors: list[Tensor]) -> list[Tensor]:
    """Concatenate vectors if they are on one device: moving one to another would wait for it."""
    return vectors if len({each.device for each in vectors}) > 1 else [torch.cat(vectors)]


def _continues(order: Tensor, start: int, block: Tensor) -> bool:
    """Whether samples are the next ones of the order; those on a device cannot be read yet."""
    if block.device.type != "cpu":
        return False
    return np.array_equal(block.numpy(), order[start : start + block.numel()].numpy())


def _to_host(vectors: tuple[Tensor, ...]) -> Tensor:
    """Concatenate vectors of any devices on the host, in order."""
    if len({vector.device for vector in vectors}) > 1:
        vectors = tuple(vector.cpu() for vector in vectors)
    return torch.cat(vectors).cpu()
