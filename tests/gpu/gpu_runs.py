"""What the checks on a GPU share: a small task, loops over it, and what a device did meanwhile."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from helpers import Numbers
from numpy.typing import NDArray
from torch import Tensor, nn

from dynaprune import BLS, InfoBatch, PrunedDataset

SECOND = 2_000_000_000
"""Cycles of a GPU that take about a second."""


def pruned(length: int, *, by_samples: bool = False, seed: int = 0) -> PrunedDataset:
    """Return InfoBatch on `Numbers`: its epochs 1 to 8 skip samples, and have weights."""
    train = InfoBatch(Numbers(length), 10, seed=seed)
    return train if by_samples else BLS(train).proxy()


class Task:
    """Points of two classes on a device, and a model that learns to tell them apart."""

    def __init__(self, device: torch.device, length: int = 256) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(length, 16, generator=generator)
        y = (x.sum(1) > 0).long()
        self.host = torch.utils.data.TensorDataset(torch.arange(length), x, y)
        self.x, self.y = x.to(device), y.to(device)
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2)).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.criterion = nn.CrossEntropyLoss()

    def loss(self, indices: Tensor) -> Tensor:
        """Return the mean loss of samples."""
        return self.criterion(self.model(self.x[indices]), self.y[indices])

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def exact_losses(indices: Tensor) -> Tensor:
    """Return a loss for each sample: multiples of 1/64, whose sums are exact on any device."""
    return (indices % 61).float() / 64 + 1


def bls_scores(length: int, steps: Iterable[tuple[list[int], float]]) -> Tensor:
    """Return the scores of BLS as its formula has them, from each batch's samples and mean loss."""
    scores: NDArray[np.float64] | None = None
    for samples, loss in steps:
        if scores is None:
            scores = np.full(length, loss)
        scores[samples] = 0.7 * scores[samples] + 0.3 * loss
    assert scores is not None
    return torch.from_numpy(scores).float()


@contextmanager
def no_waits(device: torch.device) -> Iterator[None]:
    """Let each operation raise that waits for the GPU, or moves what would have to be waited for.

    It finds copies to the host, and copies of memory that is not pinned unless they are
    `non_blocking`. Those that are, and wait all the same, `is_ahead` finds.
    """
    if device.type != "cuda":
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it does not find everything
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Busy:
    """Keeps the current stream of a GPU busy for a while; nothing on a CPU."""

    def __init__(self, device: torch.device, seconds: float = 1.0) -> None:
        self._event: Any = None
        if device.type == "cuda":
            torch.cuda._sleep(int(seconds * SECOND))
            self._event = torch.cuda.Event()
            self._event.record()

    def is_over(self) -> bool:
        return self._event is not None and bool(self._event.query())


def side_stream(device: torch.device) -> torch.cuda.Stream | None:
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def on_stream(stream: torch.cuda.Stream | None) -> AbstractContextManager[Any]:
    return nullcontext() if stream is None else torch.cuda.stream(stream)
