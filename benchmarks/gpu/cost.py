"""Stage `cost`: what a step and an epoch cost on the device, beside bare code in the same run.

update: the calls of a step alone. Host time is that until the calls return: nothing in them waits.
The textbook keeps scores on the device and writes them in every step.

loop: training steps of a small model, whose data are on the device or come from a loader. Bare is
the same loop without dynaprune. Times are with a wait after the last of a block of steps.

calls: what 100 of these steps ask the device for: kernels, copies, waits. Epochs begin and end
outside of them, but in the rows that say so.

criterion: losses of slices beside the mean loss, forward and backward.

epoch: what comes once an epoch. "with 1 ms steps" says how long an epoch takes that skips nothing
and has steps of 1 ms; "share %" is of that. Bare is a random order, made on the device.

Ours and bare take turns; times are medians.
"""

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
from session import Session, aligned
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import TensorDataset

import dynaprune
from dynaprune import BLS, InfoBatch, KalmanBLS, NoPrune, PrunedDataset, SeTa, chunked

BATCH, CHUNKS, CLASSES = 128, 8, 10

Numbers: TypeAlias = dict[str, float]

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own lines

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
COPIES = ("HtoD", "DtoH", "DtoD")
MARK = "measured"


@dataclass
class Measure:
    """Something to measure.

    Attributes:
        part: of this stage.
        what: its row.
        seconds: that it takes on a GPU, about.
        call: measures it.
    """

    part: str
    what: str
    seconds: float
    call: Callable[[], Numbers]


def work(session: Session) -> None:
    """Measure what is missing, the cheapest and most important first."""
    for each in measures(session):
        key = {"part": each.part, "what": each.what}
        enough = 0.0 if session.toy else each.seconds
        if not session.results.has(**key) and session.left() > enough:
            session.results.add({**key, "numbers": each.call()})


def measures(session: Session) -> Iterator[Measure]:
    size = Size.of(session)
    weighted, mean, slices = "with weights", "mean loss", f"{CHUNKS} slices"
    losses = {mean: 0, "loss vector": BATCH, slices: CHUNKS}
    for kind, count in losses.items():
        for name, method in {weighted: InfoBatch, "all weights 1": NoPrune}.items():
            call = partial(time_update, session, size, method, count)
            yield Measure("update", f"{kind}, {name}", 1, call)
    call = partial(time_update, session, size, InfoBatch, 0, by_indices=True)
    yield Measure("update", f"{mean}, {weighted}, indices=", 1, call)

    data = Data(session, size)
    loops = {model.__name__: Loops(session, size, model, data) for model in (cnn, mlp)}
    for name, each in loops.items():
        for way in ("batches", "batches, with weights", "batches, loss vector", "batches, chunked"):
            yield Measure("loop", f"{name}, {way}", 2, partial(each.compare, way))
    small = loops["mlp"]  # another model asks for as much more
    yield Measure("calls", "100 losses read, which must be 100 waits", 1, partial(control, session))
    for way in small.ways():
        yield Measure("calls", way, 1, partial(small.counted, way))
    call = partial(small.counted_between_epochs, "batches, with weights")
    yield Measure(
        "calls", "batches, with weights: end of an epoch, first step of the next", 1, call
    )
    for name, each in loops.items():
        yield Measure("loop", f"{name}, loader", 4, partial(each.compare, "loader"))

    for chunks in (CHUNKS, BATCH):
        yield Measure("criterion", f"{chunks} slices", 2, partial(time_criterion, session, chunks))

    for samples in size.epochs:
        seconds = 1 + samples / 1.5e6  # nearly all for the updates of two epochs
        for method in (InfoBatch, SeTa):
            for score in (BLS, KalmanBLS):
                name = f"{samples:,} samples, {score.__name__}, {method.__name__}"
                call = partial(time_epoch, session, samples, score, method)
                yield Measure("epoch", name, seconds, call)


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


# A step alone


class Textbook:
    """BLS as one would write it down from the formula, with all on the device."""

    def __init__(self, num_samples: int, device: torch.device, alpha: float = 0.7) -> None:
        self.scores = torch.ones(num_samples, device=device)
        self.weights = torch.ones(num_samples, device=device)
        self.alpha = alpha

    def update(self, loss: Tensor, indices: Tensor) -> Tensor:
        if loss.numel() not in (1, len(indices)):  # of slices of one size
            loss = loss.repeat_interleave(len(indices) // loss.numel())
        before = self.scores[indices]
        self.scores[indices] = self.alpha * before + (1 - self.alpha) * loss.detach()
        weights = self.weights[indices]
        return loss * weights.mean() if loss.dim() == 0 else (loss * weights).mean()


def time_update(
    session: Session,
    size: Size,
    method: type[PrunedDataset],
    count: int,
    *,
    by_indices: bool = False,
) -> Numbers:
    """Time `update` with a mean loss (`count` 0), or with so many losses."""
    device = session.device
    train = trained_once(method, size.samples, device)
    textbook = Textbook(size.samples, device)
    shape = (count,) if count else ()
    loss = torch.ones(shape, device=device, requires_grad=True) * 1.5  # of a graph

    def random_batches() -> Iterator[Tensor]:
        return iter(torch.randperm(size.samples, device=device).split(BATCH)[:-1])

    def ours() -> tuple[Iterator[Tensor], Callable[[Tensor], object]]:
        if by_indices:
            train.end_epoch()
            train.begin_epoch()
            return random_batches(), lambda indices: train.update(loss, indices=indices)
        return iter(train.batches(BATCH, device=device)), lambda _: train.update(loss)

    def bare() -> tuple[Iterator[Tensor], Callable[[Tensor], object]]:
        return random_batches(), lambda indices: textbook.update(loss, indices)

    times = []
    for _ in range(size.repeats):
        times.append([*host_times(session, size, *ours()), *host_times(session, size, *bare())])
    update, fetch, theirs, _ = (median(column) for column in zip(*times, strict=True))
    numbers = {"update µs": update, "textbook µs": theirs, "next batch µs": fetch}
    for name, way in {"": ours, "textbook ": bare}.items():
        batches, call = way()
        asked = counted(session, partial(repeat_step, batches, call, size.steps))
        numbers[f"{name}kernels"] = asked["kernels"] / size.steps
        numbers[f"{name}GPU µs"] = asked["GPU µs"] / size.steps
    return numbers


def host_times(
    session: Session, size: Size, batches: Iterator[Tensor], call: Callable[[Tensor], object]
) -> tuple[float, float]:
    """Return the µs that a call takes the host, and those that its batch takes."""
    calls, fetches = [], []
    session.wait()
    for _ in range(size.steps):
        started = time.perf_counter_ns()
        batch = next(batches)
        fetched = time.perf_counter_ns()
        call(batch)
        calls.append(time.perf_counter_ns() - fetched)
        fetches.append(fetched - started)
    session.wait()
    return median(calls) / 1e3, median(fetches) / 1e3


def repeat_step(batches: Iterator[Tensor], call: Callable[[Tensor], object], steps: int) -> None:
    for batch in islice(batches, steps):
        call(batch)


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


def control(session: Session) -> Numbers:
    """Count what is known: that 100 losses are read, one by one."""
    losses = torch.rand(100, device=session.device).split(1)
    found = counted(session, lambda: [loss.item() for loss in losses])
    return {"kernels a step": found.pop("kernels"), "GPU µs a step": found.pop("GPU µs")} | found


def time_criterion(session: Session, chunks: int) -> Numbers:
    """Time losses of slices, forward and backward, and the mean loss."""
    plain = nn.CrossEntropyLoss()
    sliced = chunked(plain, chunks)
    logits = torch.randn(BATCH, CLASSES, device=session.device, requires_grad=True)
    labels = torch.arange(BATCH, device=session.device) % CLASSES
    times, repeats = (2, 1) if session.toy else (40, 5)

    def repeated(criterion: Callable[..., Tensor], times: int) -> None:
        for _ in range(times):
            criterion(logits, labels).mean().backward()

    def us_of(criterion: Callable[..., Tensor]) -> float:
        session.wait()
        started = time.perf_counter()
        repeated(criterion, times)
        session.wait()
        return 1e6 * (time.perf_counter() - started) / times

    us_of(sliced), us_of(plain)
    found = [(us_of(sliced), us_of(plain)) for _ in range(repeats)]
    ours, bare = (median(column) for column in zip(*found, strict=True))
    kernels = [
        counted(session, partial(repeated, each, 2))["kernels"] / 2 for each in (sliced, plain)
    ]
    return {
        "ours µs": ours,
        "bare µs": bare,
        "ours kernels": kernels[0],
        "bare kernels": kernels[1],
    }


# An epoch


def time_epoch(session: Session, samples: int, score: Any, method: type[PrunedDataset]) -> Numbers:
    """Time what comes between two epochs: the fold of one and the plan of the next."""
    device = session.device
    train = trained_once(method, samples, device, score)
    serve_epoch(train, device)

    def ms_of(call: Callable[[], object]) -> float:
        session.wait()
        started = time.perf_counter()
        call()
        session.wait()
        return 1e3 * (time.perf_counter() - started)

    fold = ms_of(train.end_epoch)
    plan = ms_of(train.begin_epoch)
    move = ms_of(lambda: next(iter(train.batches(BATCH, device=device))))
    bare = min(ms_of(lambda: torch.randperm(samples, device=device)) for _ in range(2))
    steps = samples / BATCH
    return {
        "fold ms": fold,
        "plan ms": plan,
        "order to device ms": move,
        "bare ms": bare,
        "with 1 ms steps, s": steps / 1e3,
        "share %": 100 * (fold + plan + move) / steps,
    }


def table(records: list[dict[str, Any]]) -> str:
    """Return a table for each part."""
    tables = []
    for part in dict.fromkeys(each["part"] for each in records):
        of_part = [each for each in records if each["part"] == part]
        rows = [[part, *of_part[0]["numbers"]]]
        for each in of_part:
            rows.append([each["what"], *(f"{number:,.4g}" for number in each["numbers"].values())])
        tables.append(aligned(rows))
    return "\n\n".join(tables)
