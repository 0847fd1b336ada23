"""Training loops that stage `cost` measures, and counts of what they ask a device for."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from statistics import median
from typing import Any, TypeAlias

import torch
from session import Session
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import TensorDataset

import dynaprune
from dynaprune import BLS, InfoBatch, NoPrune, PrunedDataset, chunked

BATCH, CHUNKS, CLASSES = 128, 8, 10

Numbers: TypeAlias = dict[str, float]

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own lines

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
COPIES = ("HtoD", "DtoH", "DtoD")
MARK = "measured"


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        samples: of a training set.
        steps: of a block that is timed; an epoch has more, if a quarter of the samples is skipped.
        repeats: blocks of each.
        epochs: sizes of the training sets for which an epoch is timed.
    """

    samples: int
    steps: int
    repeats: int
    epochs: tuple[int, ...]

    @staticmethod
    def of(session: Session) -> Size:
        if session.toy:
            return Size(25 * BATCH, 8, 1, (2_000,))
        return Size(400 * BATCH, 150, 5, (50_000, 1_000_000, 10_000_000))


def trained_once(
    method: type[PrunedDataset], samples: int, device: torch.device, score: Any = BLS
) -> PrunedDataset:
    """Return a method that has trained an epoch, with losses that differ."""
    train: PrunedDataset = score(method(range(samples), 1000)).proxy()
    serve_epoch(train, device)
    return train


def serve_epoch(train: PrunedDataset, device: torch.device) -> None:
    batches = train.batches(BATCH, device=device)
    losses = torch.rand(len(batches), device=device).split(1)
    for _, loss in zip(batches, losses, strict=True):
        train.update(loss)


# Training steps


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 32), nn.ReLU(), nn.Linear(32, CLASSES))


def cnn() -> nn.Module:
    def block(channels: int, out: int) -> list[nn.Module]:
        convolution = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]

    layers = [*block(3, 32), *block(32, 64), *block(64, 128)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, CLASSES))


class Data:
    """Images and labels, of random numbers.

    Arguments:
        session: of the stage.
        size: how many.
    """

    def __init__(self, session: Session, size: Size) -> None:
        self._device, self._samples = session.device, size.samples

    @cached_property
    def on_host(self) -> TensorDataset:
        generator = torch.Generator().manual_seed(0)
        images = torch.rand((self._samples, 3, 16, 16), generator=generator)
        return TensorDataset(images, torch.randint(CLASSES, (len(images),), generator=generator))

    @cached_property
    def on_device(self) -> tuple[Tensor, Tensor]:
        images, labels = self.on_host.tensors
        return images.to(self._device), labels.to(self._device)


class Loops:
    """Training loops of one model, ours and bare.

    Arguments:
        session: of the stage.
        size: how much is measured.
        model: makes the model.
        data: of its training set.
    """

    def __init__(
        self, session: Session, size: Size, model: Callable[[], nn.Module], data: Data
    ) -> None:
        self.session, self.size, self.model, self.data = session, size, model, data
        self._runs: dict[str, Callable[[], Iterator[None]]] = {}

    def ways(self) -> dict[str, Callable[[], Callable[[], Iterator[None]]]]:
        """Return what makes each loop."""
        mean = nn.CrossEntropyLoss()
        vector = nn.CrossEntropyLoss(reduction="none")
        return {
            "bare": partial(self._bare, mean),
            "batches": partial(self._batches, NoPrune, mean),
            "batches, with weights": partial(self._batches, InfoBatch, mean),
            "bare, loss vector": partial(self._bare, lambda *given: vector(*given).mean()),
            "batches, loss vector": partial(self._batches, InfoBatch, vector),
            "batches, chunked": partial(self._batches, InfoBatch, chunked(mean, CHUNKS)),
            "bare loader": self._bare_loader,
            "loader": self._our_loader,
        }

    def run(self, way: str) -> Iterator[None]:
        """Return an epoch of a loop, which pauses after each step; the run goes on from before."""
        if way not in self._runs:
            torch.manual_seed(0)
            self._runs[way] = self.ways()[way]()
        return self._runs[way]()

    def compare(self, way: str) -> Numbers:
        """Time a step of a loop, and of the bare one."""
        bare = {"batches, loss vector": "bare, loss vector", "loader": "bare loader"}
        theirs = bare.get(way, "bare")
        times = [[self._time(each) for each in (way, theirs)] for _ in range(self.size.repeats)]
        ours_us, bare_us = (median(column) for column in zip(*times, strict=True))
        more = median(ours - bare for ours, bare in times)
        return {"ours µs": ours_us, "bare µs": bare_us, "more µs": more, "ratio": ours_us / bare_us}

    def _time(self, way: str) -> float:
        """Return the µs a step, in the middle of an epoch, which is left then."""
        steps = self.size.steps
        epoch = self.run(way)
        take(epoch, 3)
        self.session.wait()
        started = time.perf_counter()
        take(epoch, steps)
        self.session.wait()
        spent = time.perf_counter() - started
        del epoch
        return 1e6 * spent / steps

    def counted(self, way: str) -> Numbers:
        """Count what 100 steps ask the device for."""
        epoch = self.run(way)
        take(epoch, 3)
        self.session.wait()
        steps = 8 if self.session.toy else 100
        found = counted(self.session, lambda: take(epoch, steps))
        found["kernels"] /= steps
        found["GPU µs"] /= steps
        return {
            "kernels a step": found.pop("kernels"),
            "GPU µs a step": found.pop("GPU µs"),
        } | found

    def counted_between_epochs(self, way: str) -> Numbers:
        """Count what the end of an epoch asks for, and the first step of the next."""
        take(self.run(way), 3)
        next_epoch = self.run(way)
        self.session.wait()
        found = counted(self.session, lambda: take(next_epoch, 1))
        return {
            "kernels a step": found.pop("kernels"),
            "GPU µs a step": found.pop("GPU µs"),
        } | found

    def _epoch(
        self,
        model: nn.Module,
        criterion: Callable[..., Tensor],
        update: Callable[[Tensor], Tensor] | None,
        batches: Iterable[Any],
        data: tuple[Tensor, Tensor] | None,
        optimizer: torch.optim.Optimizer,
    ) -> Iterator[None]:
        device = self.session.device
        for batch in batches:
            if data is not None:
                images, labels = data[0][batch], data[1][batch]
            else:
                images, labels = (each.to(device, non_blocking=True) for each in batch)
            loss = criterion(model(images), labels)
            if update is not None:
                loss = update(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield

    def _loop(
        self,
        criterion: Callable[..., Tensor],
        update: Callable[[Tensor], Tensor] | None,
        batches: Callable[[], Iterable[Any]],
        data: tuple[Tensor, Tensor] | None,
    ) -> Callable[[], Iterator[None]]:
        model = self.model().to(self.session.device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        return lambda: self._epoch(model, criterion, update, batches(), data, optimizer)

    def _bare(self, criterion: Callable[..., Tensor]) -> Callable[[], Iterator[None]]:
        samples, device = self.size.samples, self.session.device
        return self._loop(
            criterion,
            None,
            lambda: torch.randperm(samples, device=device).split(BATCH),
            self.data.on_device,
        )

    def _batches(
        self, method: type[PrunedDataset], criterion: Callable[..., Tensor]
    ) -> Callable[[], Iterator[None]]:
        train = trained_once(method, self.size.samples, self.session.device)
        batches = train.batches(BATCH, device=self.session.device)
        return self._loop(criterion, train.update, lambda: batches, self.data.on_device)

    def _bare_loader(self) -> Callable[[], Iterator[None]]:
        loader = torch.utils.data.DataLoader(
            self.data.on_host, BATCH, shuffle=True, pin_memory=self._pins()
        )
        return self._loop(nn.CrossEntropyLoss(), None, lambda: loader, None)

    def _our_loader(self) -> Callable[[], Iterator[None]]:
        train: PrunedDataset = BLS(InfoBatch(self.data.on_host, 1000)).proxy()
        serve_epoch(train, self.session.device)
        loader = dynaprune.DataLoader(
            train, batch_size=BATCH, sampler=train.sampler, pin_memory=self._pins()
        )
        return self._loop(nn.CrossEntropyLoss(), train.update, lambda: loader, None)

    def _pins(self) -> bool:
        return self.session.device.type == "cuda"


def take(epoch: Iterator[None], steps: int) -> None:
    for _ in islice(epoch, steps):
        pass


# What the device is asked for


def counted(session: Session, call: Callable[[], object]) -> Numbers:
    """Return the kernels, copies and waits of a call, and the µs of its kernels."""
    activities = [ProfilerActivity.CPU]
    if session.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    session.wait()
    with profile(activities=activities) as profiled, record_function(MARK):
        call()
    events = list(profiled.events() or ())
    during = next(each.time_range for each in events if each.name == MARK and not _is_on_gpu(each))
    asked, kernel_us = Counter[str](), 0.0
    for event in events:
        name, start = event.name, event.time_range.start
        if not _is_on_gpu(event):  # the profiler itself waits, too, at its end
            asked["waits"] += name in WAITS and during.start <= start <= during.end
        elif name.startswith("Memcpy"):
            asked.update(each for each in COPIES if each in name)
        elif not name.startswith((MARK, "Memset", "Optimizer.")):
            asked["kernels"] += 1
            kernel_us += event.time_range.elapsed_us()
    names = ("kernels", *COPIES, "waits")
    return {"GPU µs": kernel_us, **{name: float(asked[name]) for name in names}}


def _is_on_gpu(event: Any) -> bool:
    return bool(event.device_type == DeviceType.CUDA)
