"""The buffer that `update` appends to, and its one trip to the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .batches import Batches
from .plan import Indices


class LossRecord:
    """Losses as they were reported, on whatever device they were, with their samples.

    Attributes:
        num_visits: samples in the recorded batches.
    """

    def __init__(self) -> None:
        self._indices: list[Indices] = []
        self._losses: list[Tensor] = []
        self.num_visits = 0

    def __len__(self) -> int:
        return len(self._losses)

    def append(self, indices: Indices, loss: Tensor) -> None:
        """Take down one step: `indices` of shape (B,), `loss` with one element or B of them.

        The loss is copied where it is, because the user's tensor may be written to afterwards
        (`loss /= steps`, a CUDA graph's replay); nothing is read and nothing moves.
        """
        self._indices.append(indices)
        self._losses.append(loss.detach().clone())
        self.num_visits += len(indices)

    def batches(self) -> Batches:
        """Move the losses to the host, in one copy a device, and return them with their samples."""
        lengths = np.array([len(indices) for indices in self._indices], dtype=np.int64)
        counts = np.array([loss.numel() for loss in self._losses], dtype=np.int64)
        steps = np.repeat(np.arange(len(self)), counts)
        # one measurement: of the whole batch; as many as samples: of one sample each
        sizes = np.where(counts == 1, lengths, 1)[steps]
        return Batches(
            indices=_to_host([torch.as_tensor(indices) for indices in self._indices]),
            sizes=torch.from_numpy(sizes),
            losses=_to_host([loss.reshape(-1) for loss in self._losses]).float(),
            steps=torch.from_numpy(steps),
        )


def _to_host(vectors: Sequence[Tensor]) -> Tensor:
    """Concatenate vectors of any devices on the host, in order."""
    if len({vector.device for vector in vectors}) > 1:
        vectors = [vector.cpu() for vector in vectors]
    return torch.cat(list(vectors)).cpu()
