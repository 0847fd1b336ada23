"""The buffer that `update` writes to, and its one trip to the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .batches import Batches
from .plan import Indices
from .slicing import slice_sizes

SLOTS = 64
"""Mean losses that are written to one tensor before it is put by."""

PENDING = 64
"""Batches whose samples, or several losses each, are kept one by one before they are put together.
"""


class LossRecord:
    """Losses as they were reported, on whatever device they were, with their samples.

    A loss is copied where it is, because the user's tensor may be written to afterwards
    (`loss /= steps`, a CUDA graph's replay); nothing is read and nothing moves. Mean losses go to
    slots that are used over and over: a tensor of its own for each would take a hundred times the
    memory, and twice the time.

    Samples take no memory as long as they come in the order in which they are served: then they
    are a part of that order, which is there anyway.

    Arguments:
        order: shape (K,): the samples in the order in which they are served, if that is known.

    Attributes:
        num_visits: samples in the recorded batches.
    """

    def __init__(self, order: Tensor | None = None) -> None:
        self._order = torch.empty(0, dtype=torch.int32, device="cpu") if order is None else order
        self._followed = 0  # samples that came in this order, from its first one on
        self._blocks: list[Tensor] = []  # those after them
        self._pending: list[NDArray[np.int64]] = []  # and the last ones
        self._lengths: list[int] = []  # samples of each step
        self._counts: list[int] = []  # measurements of each step: 1, one a slice, or one a sample
        self._losses: list[Tensor] = []  # of all steps but the last ones, in order
        self._vectors: list[Tensor] = []  # of the last ones, on one device, if they have several
        self._slots: tuple[Tensor, ...] = ()  # those of others: views of _staging, of shape (1,)
        self._staging = torch.empty(0, device="cpu")
        self._used = 0
        self.num_visits = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def append(self, indices: Indices, loss: Tensor) -> None:
        """Take down one step: `indices` of shape (B,), `loss` with one element for each slice."""
        count = loss.numel()
        if count > 1:
            self._append_vector(loss)
        else:
            if self._vectors:
                self._put_by()
            if self._used == len(self._slots) or self._staging.device != loss.device:
                self._make_room(loss.device)
            self._slots[self._used].copy_(loss.detach())
            self._used += 1
        self._counts.append(count)
        self._lengths.append(len(indices))
        self.num_visits += len(indices)
        if isinstance(indices, Tensor):
            self._put_together()
            self._blocks.append(indices)
            return
        self._pending.append(indices)
        if len(self._pending) == PENDING:
            self._put_together()

    def _append_vector(self, losses: Tensor) -> None:
        """Take down several losses of one step, of shape (C,)."""
        waiting = self._vectors
        if waiting and (len(waiting) == PENDING or waiting[0].device != losses.device):
            self._put_by()
        if self._used > 0:
            self._put_by()
        self._vectors.append(losses.detach().clone())

    def first(self) -> Batches:
        """Return the first step with losses of 0, which tells its form without reading a loss."""
        indices = self._samples()[: self._lengths[0]]
        lengths, counts = (np.array(each[:1], np.int64) for each in (self._lengths, self._counts))
        sizes = slice_sizes(lengths, counts)
        nothing = torch.zeros(sizes.size, dtype=torch.int64, device="cpu")
        return Batches(indices, torch.from_numpy(sizes), nothing.float(), nothing)

    def batches(self) -> Batches:
        """Move the losses to the host, in one copy a device, and return them with their samples."""
        self._put_by()
        lengths = np.array(self._lengths, dtype=np.int64)
        counts = np.array(self._counts, dtype=np.int64)
        steps = np.repeat(np.arange(len(self)), counts)
        return Batches(
            indices=self._samples(),
            sizes=torch.from_numpy(slice_sizes(lengths, counts)),
            losses=_to_host(self._losses).float(),
            steps=torch.from_numpy(steps),
        )

    def _samples(self) -> Tensor:
        """Return the samples of all steps, on the host: shape (M,)."""
        self._put_together()
        followed = self._order[: self._followed]
        return _to_host([followed, *self._blocks]) if self._blocks else followed

    def _put_together(self) -> None:
        """Move what is pending to the samples before it."""
        if not self._pending:
            return
        block = np.concatenate(self._pending)
        self._pending.clear()
        expected = self._order[self._followed : self._followed + block.size].numpy()
        if not self._blocks and np.array_equal(block, expected):
            self._followed += block.size
        else:
            self._blocks.append(torch.from_numpy(block).to(self._order.dtype))

    def _put_by(self) -> None:
        """Move the losses of the last steps to `_losses`."""
        if self._vectors:
            self._losses.append(torch.cat(self._vectors))
            self._vectors.clear()
        if self._used > 0:
            self._losses.append(self._staging[: self._used].clone())
            self._used = 0

    def _make_room(self, device: torch.device) -> None:
        """See to it that the next loss, on `device`, finds a free slot there."""
        self._put_by()
        if len(self._slots) == 0 or self._staging.device != device:
            with torch.inference_mode(False):  # else no slot could be written to outside of it
                self._staging = torch.empty(SLOTS, dtype=torch.float32, device=device)
            self._slots = torch.split(self._staging, 1)

    def __getstate__(self) -> dict[str, Any]:
        self._put_by()  # a pickle's slots would be views of nothing
        return {**vars(self), "_slots": (), "_staging": torch.empty(0, device="cpu")}


def _to_host(vectors: list[Tensor]) -> Tensor:
    """Concatenate vectors of any devices on the host, in order."""
    if len({vector.device for vector in vectors}) > 1:
        vectors = [vector.cpu() for vector in vectors]
    return torch.cat(vectors).cpu()
