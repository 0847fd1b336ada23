"""The buffer that `update` appends to; it is copied to the host once, at the end of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..utils.devices import current_stream
from ..utils.sampling import count_distinct
from .chunk_sizes import slice_sizes
from .measurements import Indices, Measurements

PENDING = 64
"""Steps that are kept one by one before they are packed into a few tensors."""


@dataclass(frozen=True)
class _Packed:
    """Steps that were packed into a few tensors; immutable.

    Attributes:
        followed: the number of leading samples that came in the known order.
        blocks: the samples after them.
        lengths: the number of samples of each step.
        counts: the number of measurements of each step: 1, one per slice, or one per sample.
        losses: of all steps, in order.
        visits: the number of samples in all steps.
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
    """The latest steps, one by one; earlier ones are in `packed`.

    Attributes:
        packed: the steps before.
        staging: memory for the mean loss of each step, on one device.
        slots: views of `staging`, of shape (1,).
        steps: the samples of each step, its losses if it has several, and how many samples all
            steps up to it had.
        has_several: whether a step may have several losses.
        has_tensors: whether samples may be on a device.
        stream: the handle of the CUDA stream in which these steps were recorded.
    """

    packed: _Packed
    staging: Tensor = field(default_factory=lambda: torch.empty(0, device="cpu"))
    slots: tuple[Tensor, ...] = ()
    steps: list[tuple[Indices, Tensor | None, int]] = field(default_factory=list)
    has_several: bool = False
    has_tensors: bool = False
    stream: int | None = None


class LossBuffer:
    """The reported losses with their samples, each loss on its own device.

    A loss is copied on its device, because the user's tensor may be written to afterwards
    (`loss /= steps`, a CUDA graph's replay). Nothing is read or moved to the host. Mean losses are
    copied to preallocated slots: a separate tensor for each loss takes a hundred times the memory
    and twice the time.

    Samples take no memory as long as they come in the order in which they are served: only their
    number is stored then.

    A step is recorded by appending it to `_Pending.steps`, and packing replaces `_Pending` by a new
    one: each is one operation of the interpreter. So if Ctrl-C or a signal handler raises, the
    record has the whole step or nothing of it. Reading never changes the record, so a signal
    handler may read it while a step is being appended.

    Arguments:
        order: shape (K,): the samples in the order in which they are served, if known.
    """

    def __init__(self, order: Tensor | None = None) -> None:
        self._order = torch.empty(0, dtype=torch.int32, device="cpu") if order is None else order
        self._pending = _Pending(_Packed())

    def __len__(self) -> int:
        pending = self._pending
        return pending.packed.num_steps + len(pending.steps)

    def __bool__(self) -> bool:
        pending = self._pending
        return True if pending.steps else pending.packed.visits > 0

    @property
    def num_visits(self) -> int:
        """The number of samples in the recorded batches."""
        pending = self._pending
        return pending.steps[-1][2] if pending.steps else pending.packed.visits

    @property
    def last(self) -> Indices | None:
        """The samples of the last step: the object that was given."""
        pending = self._pending
        return pending.steps[-1][0] if pending.steps else pending.packed.last

    def is_in_order(self) -> bool:
        """Whether all samples came in the known order, without repetition."""
        return not self._packed().blocks

    def num_distinct(self) -> int:
        """Return how many distinct samples were recorded; indices on a device are not compared."""
        packed = self._packed()
        if any(each.device.type != "cpu" for each in packed.blocks):
            return packed.visits  # reading them would synchronize with the device
        return count_distinct(self._samples(packed).numpy())

    def append(self, indices: Indices, loss: Tensor) -> None:
        """Record one step: `indices` of shape (B,), `loss` with one element for each slice."""
        pending = self._pending
        if loss.is_cuda:
            stream = _recording_stream(loss.device)
            if pending.stream != stream or pending.staging.device != loss.device:
                pending = self._pack(loss.device, stream)
        steps = pending.steps
        place = len(steps)
        visits = indices.shape[0] + (steps[-1][2] if place else pending.packed.visits)
        if place == PENDING:
            pending, place = self._pack(), 0
        if isinstance(indices, Tensor):
            pending.has_tensors = True
        if loss.numel() > 1:
            pending.has_several = True
            pending.steps.append((indices, loss.detach().clone(), visits))
            return
        if pending.staging.device != loss.device or not pending.slots:
            pending, place = self._pack(loss.device), 0
        pending.slots[place].copy_(loss.detach())
        pending.steps.append((indices, None, visits))

    def first(self) -> Measurements:
        """Return the first step with losses of 0: its shape is known without reading a loss."""
        packed = self._packed()
        if packed.visits == 0:
            return Measurements.none()
        lengths, counts = packed.lengths[0][:1], packed.counts[0][:1]
        sizes = slice_sizes(lengths, counts)
        nothing = torch.zeros(sizes.size, dtype=torch.int64, device="cpu")
        indices = self._samples(packed)[: int(lengths[0])]
        return Measurements(indices, torch.from_numpy(sizes), nothing.float(), nothing)

    def batches(self) -> Measurements:
        """Return all measurements on the host; the losses are moved in one copy per device."""
        self._wait()
        packed = self._packed()
        if packed.visits == 0:
            return Measurements.none()
        lengths, counts = np.concatenate(packed.lengths), np.concatenate(packed.counts)
        steps = np.repeat(np.arange(lengths.size), counts)
        return Measurements(
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
        """Return all steps packed, without changing the record."""
        return _packed(self._pending, self._order)

    def _wait(self) -> None:
        """Wait until all streams have written what was recorded: the reader may use another one."""
        losses = [*self._pending.packed.losses, self._pending.staging]
        for device in {each.device for each in losses if each.is_cuda}:
            torch.cuda.synchronize(device)

    def _pack(self, device: torch.device | None = None, stream: int | None = None) -> _Pending:
        """Pack the pending steps, and return the object that the next ones are appended to.

        CUDA streams do not wait for each other. So each stream gets its own slots, and slots are
        not reused before all of them were read.

        Arguments:
            device: the device of the next mean loss, if it differs from the previous one.
            stream: the CUDA stream of the next loss, if it is on a CUDA device.
        """
        before = self._pending
        if device is None:
            staging, slots, stream = before.staging, before.slots, before.stream
        else:
            with torch.inference_mode(False):  # tensors made in it cannot be written to outside
                staging = torch.empty(PENDING, dtype=torch.float32, device=device)
            slots = torch.split(staging, 1)
        packed = _packed(before, self._order, joins=device is None)
        self._pending = after = _Pending(packed, staging, slots, stream=stream)
        return after

    def __getstate__(self) -> dict[str, Any]:
        self._wait()
        # after unpickling, slots would no longer be views of the staging tensor
        return {**vars(self), "_pending": _Pending(self._packed())}


def _recording_stream(device: torch.device) -> int:
    """Return the handle of the CUDA stream in which a step is recorded.

    Raises:
        RuntimeError: the stream captures a CUDA graph: each replay would overwrite the loss of the
            one before.
    """
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "update() was called while a CUDA graph is being captured, so no replay would be "
            "scored: call it outside of the graph, after each replay, with the loss that the graph "
            "wrote. Inside the graph, multiply the loss by a static tensor, and copy "
            "train.batch_weight to that tensor before each replay (docs/loops.md, mixed precision)"
        )
    return current_stream(device)


def _packed(pending: _Pending, order: Tensor, joins: bool = True) -> _Packed:
    """Return all steps packed.

    Arguments:
        pending: the latest steps, with those that were packed before.
        order: see `LossBuffer`.
        joins: whether to concatenate tensors and free the slots for reuse; if not, tensors on a
            device are taken as they are.
    """
    before, steps = pending.packed, pending.steps
    if not steps:
        return before
    samples = [indices for indices, _, _ in steps]
    lengths = np.fromiter(map(len, samples), np.int64, len(samples))
    counts = np.ones_like(lengths)
    if pending.has_several:
        counts[:] = [1 if each is None else each.numel() for _, each, _ in steps]
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
        steps[-1][2],
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
        slots[place] if each is None else each for place, (_, each, _) in enumerate(pending.steps)
    ]
    return _joined(several) if joins else several


def _blocks(samples: Sequence[Indices], has_tensors: bool, joins: bool) -> list[Tensor]:
    """Return the samples of several steps in as few tensors as possible."""
    if not has_tensors:
        return [torch.from_numpy(np.concatenate(samples))]
    tensors = [each if isinstance(each, Tensor) else torch.from_numpy(each) for each in samples]
    return _joined(tensors) if joins else tensors


def _joined(vectors: list[Tensor]) -> list[Tensor]:
    """Concatenate vectors if they are on one device: moving them would synchronize."""
    return vectors if len({each.device for each in vectors}) > 1 else [torch.cat(vectors)]


def _continues(order: Tensor, start: int, block: Tensor) -> bool:
    """Whether samples are the next ones of the order; samples on a device are not compared."""
    if block.device.type != "cpu":
        return False
    return np.array_equal(block.numpy(), order[start : start + block.numel()].numpy())


def _to_host(vectors: tuple[Tensor, ...]) -> Tensor:
    """Concatenate vectors of any devices on the host, in order."""
    if len({vector.device for vector in vectors}) > 1:
        vectors = tuple(vector.cpu() for vector in vectors)
    return torch.cat(vectors).cpu()
