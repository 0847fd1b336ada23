"""A step never waits for the GPU: only the end of an epoch does, where its losses are read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from gpu_runs import Busy, Task, exact_losses, no_waits, pruned
from torch import Tensor

from dynaprune import BLS, DataLoader, InfoBatch, PrunedDataset, chunked

LENGTH = 1024
BATCH_SIZE = 8
PACKED = 64  # steps after which losses are packed: an epoch has more

LOSSES = {
    "mean": lambda losses: losses.mean(),
    "slices": chunked(lambda losses: losses.mean(), chunks=3),  # of 8 samples: 3, 3 and 2
    "samples": lambda losses: losses,
}


def expected(losses: Tensor, weights: Tensor, kind: str) -> float:
    """Return what `update` makes of the losses of a batch's samples."""
    if kind == "samples":
        return float((losses * weights).mean())
    size = len(losses) if kind == "mean" else 3
    parts = zip(losses.split(size), weights.split(size), strict=True)
    return sum(float(loss.mean() * weight.sum()) for loss, weight in parts) / len(losses)


def served(
    train: PrunedDataset, device: torch.device, way: str
) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """Yield the samples of each batch on the device, and what `update` is told of them."""
    if way == "batches":
        for indices in train.batches(BATCH_SIZE, device=device, drop_last=True):
            yield indices, {}
        return
    order = train.begin_epoch().order.long().to(device)
    batches = list(order.split(BATCH_SIZE))[: len(order) // BATCH_SIZE]
    if way == "indices":
        for indices in batches:
            yield indices, {"indices": indices}
        return
    for indices, _ in zip(batches, DataLoader(train, BATCH_SIZE, drop_last=True), strict=True):
        yield indices, {}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("way", ["batches", "loader", "indices"])
def test_an_epoch(device, way, kind):
    """All of its steps; of `batches` the begin, too, and the first step, which moves weights."""
    train, losses_of = pruned(LENGTH, by_samples=kind == "samples"), LOSSES[kind]
    for epoch in range(3):
        batches, found = served(train, device, way), []
        if way != "batches":
            first = next(batches)  # which moves the order that this test knows it by
            found.append((first[0], train.update(losses_of(exact_losses(first[0])), **first[1])))
        with no_waits(device):
            for indices, told in batches:
                found.append((indices, train.update(losses_of(exact_losses(indices)), **told)))
                weights = train.weights
        assert len(found) > PACKED
        assert (weights.max() > 1) == (epoch > 0)
        for indices, scaled in found:
            losses, own = exact_losses(indices.cpu()), weights[indices.cpu()]
            assert float(scaled) == pytest.approx(expected(losses, own, kind), rel=1e-5)
        train.end_epoch()  # the losses are read here


def test_the_first_step_of_an_epoch_with_weights(device):
    """With indices of another library's loader, it moves the weights of all samples."""
    train = pruned(LENGTH)
    for _ in range(2):
        indices = train.begin_epoch().order.long()[:BATCH_SIZE].to(device)
        loss = torch.ones((), device=device)
        with no_waits(device):
            scaled = train.update(loss, indices=indices)
        weights = train.weights
        assert float(scaled) == pytest.approx(float(weights[indices.cpu()].mean()))
        for others in train.begin_epoch().order.long()[BATCH_SIZE:].to(device).split(BATCH_SIZE):
            train.update(exact_losses(others).mean(), indices=others)
        train.end_epoch()
    assert weights.max() > 1


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loader_over_data_on_the_host(device, kind):
    """From the copy of a batch to the step of the optimizer."""
    task, losses_of = Task(device, LENGTH), LOSSES[kind]
    method = InfoBatch(task.host, 10)
    train = method if kind == "samples" else BLS(method).proxy()
    criterion = torch.nn.CrossEntropyLoss(reduction="none")
    loader = DataLoader(train, BATCH_SIZE, pin_memory=device.type == "cuda", drop_last=True)
    for epoch in range(3):
        found = []
        for numbers, x, y in loader:
            with no_waits(device):
                x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
                losses = criterion(task.model(x), y)
                scaled = train.update(losses_of(losses))
                task.step(scaled)
            found.append((train.weights[numbers], losses.detach(), scaled.detach()))
        assert len(found) > PACKED
        for own, losses, scaled in found:
            assert float(scaled) == pytest.approx(expected(losses.cpu(), own, kind), rel=1e-5)
        assert (max(own.max() for own, _, _ in found) > 1) == (epoch > 0)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("way", ["batches", "loader", "indices"])
def test_the_host_is_ahead_of_a_busy_device(device, way, kind):
    """Of copies that are not meant to wait, this tells whether they do all the same."""
    train, losses_of = pruned(LENGTH, by_samples=kind == "samples"), LOSSES[kind]
    every = exact_losses(torch.arange(LENGTH)).to(device)
    for _ in range(3):  # the first epochs load what the steps of the last one run
        batches = served(train, device, way)
        for indices, told in islice(batches, PACKED - 5):
            train.update(losses_of(every[indices]), **told)
        busy = Busy(device, seconds=0.5)
        for indices, told in islice(batches, 10):  # losses are packed among them
            train.update(losses_of(every[indices]), **told)
        was_ahead = not busy.is_over()
        assert train.weights.max() >= 1
        batches.close()
        train.end_epoch()
    assert was_ahead


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("way", ["batches", "loader", "indices"])
def test_what_the_profiler_sees(cuda, way, kind):
    """An update copies nothing to the host, and calls nothing that waits."""
    train, losses_of = pruned(LENGTH, by_samples=kind == "samples"), LOSSES[kind]
    every = exact_losses(torch.arange(LENGTH)).to(cuda)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    for _ in range(2):
        batches = served(train, cuda, way)
        for indices, told in islice(batches, PACKED - 5):
            train.update(losses_of(every[indices]), **told)
        with torch.profiler.profile(activities=activities) as profiler:
            for indices, told in islice(batches, 10):
                train.update(losses_of(every[indices]), **told)
        batches.close()
        train.end_epoch()
    names = [event.name for event in profiler.events()]
    if not any(name.startswith("cudaLaunchKernel") for name in names):
        pytest.skip("the profiler sees nothing of the GPU here")
    # cudaDeviceSynchronize is the profiler's own
    waits = {"cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy"}
    assert [name for name in names if name in waits or name.startswith("Memcpy DtoH")] == []
