"""Loaders that pin batches, with workers and without, and loops that move and drop these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from gpu_runs import bls_scores, exact_losses, on_stream, side_stream
from torch import Tensor

from dynaprune import BLS, DataLoader, InfoBatch, PrunedDataset

LENGTH = 96
WORKERS = [(0, False), (2, False), (2, True)]


def dataset() -> torch.utils.data.TensorDataset:
    """Each sample is its number, and a vector that tells it too."""
    numbers = torch.arange(LENGTH)
    return torch.utils.data.TensorDataset(numbers, numbers[:, None].repeat(1, 1000).float())


def loader_over(train: PrunedDataset, device, workers, is_persistent) -> DataLoader:
    more: dict[str, Any] = {"persistent_workers": True} if is_persistent else {}
    if workers > 0:
        more["prefetch_factor"] = 3
    return DataLoader(train, 8, num_workers=workers, pin_memory=device.type == "cuda", **more)


def moved(batch: tuple[Tensor, Tensor], device: torch.device) -> list[Tensor]:
    """Move a batch: nothing of the original is left, also on a CPU."""
    return [part.to(device, non_blocking=True, copy=True) for part in batch]


def check(train: PrunedDataset, told: list[tuple[list[int], float]]) -> None:
    torch.testing.assert_close(train.scores, bls_scores(LENGTH, told), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("workers", "is_persistent"), WORKERS)
def test_a_batch_that_is_moved_and_dropped(device, workers, is_persistent):
    train, told = BLS(InfoBatch(dataset(), 10)).proxy(), []
    loader = loader_over(train, device, workers, is_persistent)
    for epoch in range(3):
        losses, weights = [], []
        for batch in loader:
            if device.type == "cuda":
                assert batch[0].is_pinned()
            numbers, content = moved(batch, device)
            del batch
            loss = exact_losses(content[:, 0].long()).mean()
            scaled = train.update(loss)
            losses.append((numbers, loss))
            weights.append((scaled, loss, train.weights[numbers.cpu()].mean()))
        told += [(numbers.tolist(), float(loss)) for numbers, loss in losses]
        for scaled, loss, weight in weights:
            assert float(scaled) == pytest.approx(float(loss) * float(weight))
        assert (max(float(weight) for *_, weight in weights) > 1) == (epoch > 0)
        check(train, told)


@pytest.mark.parametrize(("workers", "is_persistent"), WORKERS)
def test_batches_that_are_skipped(device, workers, is_persistent):
    """Every third batch, after it was moved: it is gone, so the next one is updated."""
    train, told = BLS(InfoBatch(dataset(), 10)).proxy(), []
    loader = loader_over(train, device, workers, is_persistent)
    for _ in range(2):
        losses = []
        for number, batch in enumerate(loader):
            numbers, content = moved(batch, device)
            del batch
            if number % 3 == 2:
                continue
            loss = exact_losses(content[:, 0].long()).mean()
            train.update(loss)
            losses.append((numbers, loss))
        told += [(numbers.tolist(), float(loss)) for numbers, loss in losses]
        check(train, told)


class Prefetcher:
    """Copies the next batch to the device, on a stream of its own, while one is trained on."""

    def __init__(self, loader: Any, device: torch.device) -> None:
        self._loader, self._device, self._stream = loader, device, side_stream(device)

    def __iter__(self) -> Iterator[Any]:
        ahead = None
        for batch in self._loader:
            with on_stream(self._stream):
                copied = batch, moved(batch, self._device)
            if ahead is not None:
                yield self._ready(ahead)
            ahead = copied
        yield self._ready(ahead)

    def _ready(self, ahead: Any) -> Any:
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
            for part in ahead[1]:
                part.record_stream(torch.cuda.current_stream())
        return ahead


@pytest.mark.parametrize(("workers", "is_persistent"), WORKERS)
def test_a_prefetcher_on_a_stream_of_its_own(device, workers, is_persistent):
    """It says which batch an update is about, by what the loader has yielded."""
    train, told = BLS(InfoBatch(dataset(), 10)).proxy(), []
    loader = loader_over(train, device, workers, is_persistent)
    for _ in range(3):
        losses = []
        for batch, (numbers, content) in Prefetcher(loader, device):
            loss = exact_losses(content[:, 0].long()).mean()
            train.update(loss, batch=batch)
            losses.append((numbers, loss))
        told += [(numbers.tolist(), float(loss)) for numbers, loss in losses]
        check(train, told)
    assert train.epoch == 3


@pytest.mark.parametrize(("workers", "is_persistent"), WORKERS)
def test_the_loader_of_torch_with_indices(device, workers, is_persistent):
    """Indices come back from the device, where the batch was moved with them."""
    train, told = BLS(InfoBatch(dataset(), 10)).proxy(), []
    loader = torch.utils.data.DataLoader(
        train.with_indices(),
        batch_size=8,
        sampler=train.sampler,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=is_persistent,
    )
    for epoch in range(3):
        losses = []
        for (numbers, content), indices in loader:
            there = indices.to(device, non_blocking=True)
            loss = exact_losses(content[:, 0].to(device, non_blocking=True).long()).mean()
            scaled = train.update(loss, indices=there)
            losses.append((numbers, loss))
            weight = train.weights[numbers].mean()
            assert float(scaled) == pytest.approx(float(loss) * float(weight))
        told += [(numbers.tolist(), float(loss)) for numbers, loss in losses]
        train.end_epoch()
        check(train, told)
        assert train.epoch == epoch + 1
