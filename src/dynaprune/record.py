"""The buffer that `update` writes to, and its one trip to the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .batches import Batches
from .plan import Indices

SLOTS = 64
"""Mean losses that are written to one tensor before it is put by."""


class LossRecord:
    """Losses as they were reported, on whatever device they were, with their samples.

    A loss is copied where it is, because the user's tensor may be written to afterwards
    (`loss /= steps`, a CUDA graph's replay); nothing is read and nothing moves. Mean losses go to
    slots that are used over and over: a tensor of its own for each would take a hundred times the
    memory, and twice the time.

    Attributes:
        num_visits: samples in the recorded batches.
    """

    def __init__(self) -> None:
        self._indices: list[Indices] = []
        self._counts: list[int] = []  # measurements of each step: 1, or one a sample
        self._losses: list[Tensor] = []  # of all steps but those still in slots, in order
        self._slots: tuple[Tensor, ...] = ()  # views of _staging, of shape (1,)
        self._staging = torch.empty(0, device="cpu")
        self._used = 0
        self.num_visits = 0

    def __len__(self) -> int:
        return len(self._indices)

    def append(self, indices: Indices, loss: Tensor) -> None:
        """Take down one step: `indices` of shape (B,), `loss` with one element or B of them."""
        count = loss.numel()
        if count > 1:
            self._put_by()
            self._losses.append(loss.detach().clone())
        else:
            if self._used == len(self._slots) or self._staging.device != loss.device:
                self._make_room(loss.device)
            self._slots[self._used].copy_(loss.detach())
            self._used += 1
        self._counts.append(count)
        self._indices.append(indices)
        self.num_visits += len(indices)

    def first(self) -> Batches:
        """Return the first step with losses of 0, which tells its form without reading a loss."""
        count, indices = self._counts[0], _to_host([_as_tensor(self._indices[0])])
        sizes = torch.full((count,), indices.numel() // count, device="cpu")
        nothing = torch.zeros(count, dtype=torch.int64, device="cpu")
        return Batches(indices, sizes, nothing.float(), nothing)

    def batches(self) -> Batches:
        """Move the losses to the host, in one copy a device, and return them with their samples."""
        self._put_by()
        lengths = np.array([len(indices) for indices in self._indices], dtype=np.int64)
        counts = np.array(self._counts, dtype=np.int64)
        steps = np.repeat(np.arange(len(self)), counts)
        # one measurement: of the whole batch; as many as samples: of one sample each
        sizes = np.where(counts == 1, lengths, 1)[steps]
        return Batches(
            indices=_to_host([_as_tensor(indices) for indices in self._indices]),
            sizes=torch.from_numpy(sizes),
            losses=_to_host(self._losses).float(),
            steps=torch.from_numpy(steps),
        )

    def _put_by(self) -> None:
        """Move the losses in slots to `_losses`."""
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


def _as_tensor(indices: Indices) -> Tensor:
    return indices if isinstance(indices, Tensor) else torch.from_numpy(indices)


def _to_host(vectors: list[Tensor]) -> Tensor:
    """Concatenate vectors of any devices on the host, in order."""
    if len({vector.device for vector in vectors}) > 1:
        vectors = [vector.cpu() for vector in vectors]
    return torch.cat(vectors).cpu()
