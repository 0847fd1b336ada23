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

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import median
from typing import Any

import torch
from cost_loops import (
    BATCH,
    CHUNKS,
    CLASSES,
    Data,
    Loops,
    Numbers,
    Size,
    cnn,
    counted,
    mlp,
    serve_epoch,
    trained_once,
)
from session import Session, aligned
from torch import Tensor, nn

from dynaprune import BLS, InfoBatch, KalmanBLS, NoPrune, PrunedDataset, SeTa, chunked


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
