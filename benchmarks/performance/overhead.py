"""The cost of dynaprune itself, compared with textbook code in the same run.

    python benchmarks/performance/overhead.py

A step: `update` at batch size 128, and the loader's preceding call that sets the batch's indices.
Textbook: scores on the host, written in every step. Both return the loss times its weight; the
table also has the cost of that multiplication alone, and the bytes that a step keeps until the
epoch ends.

`update(loss, indices=...)`: with the int64 tensor that another library's loader yields. Textbook:
the same code as before.

Losses of slices: `chunked(criterion, C)` compared with the criterion itself, forward and backward,
alone and within whole training steps of the small CNN of end_to_end.py on images of 32 by 32. C is
8, or the batch size (per-sample losses). Cross entropy has to count the labels that `ignore_index`
leaves, unless targets are class probabilities. A function of the user's own is called on each
slice.

An epoch: the plan for 1,000,000 samples. Textbook InfoBatch: `np.random.choice` and a shuffled
Python list. Textbook SeTa: scikit-learn's KMeans, and samples assigned to groups one by one; with
one random start, its default, and with ten, which it needs to find equally good groups. Memory is
the peak of what NumPy and Python request; scale.py measures resident memory.
"""

from __future__ import annotations

import argparse
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain, count, cycle, islice
from statistics import median

import numpy as np
import torch
from end_to_end_settings import random_images, typical_model
from measuring import traced_peak_of
from rich.console import Console
from rich.table import Table
from sklearn.cluster import KMeans
from torch import Tensor, nn

from dynaprune import BLS, InfoBatch, PrunedDataset, SeTa, chunked
from dynaprune.losses.buffer import LossBuffer
from dynaprune.planning.plan import make_plan
from dynaprune.planning.selection import check_selection
from dynaprune.training.batch import batch_of
from dynaprune.training.loader_pass import LoaderPass
from dynaprune.utils.rng import epoch_generator

BATCH, CHUNKS = 128, 8


class TextbookBLS:
    """Updates scores in every step, written directly from the formula."""

    def __init__(self, num_samples: int, weights: Tensor, alpha: float = 0.7) -> None:
        self.scores = torch.ones(num_samples)
        self.weights = weights
        self.alpha = alpha

    def update(self, loss: Tensor, indices: Tensor) -> Tensor:
        if loss.numel() not in (1, len(indices)):  # losses of slices of equal size
            loss = loss.repeat_interleave(len(indices) // loss.numel())
        value = loss.detach().cpu()  # a mean loss, or per-sample losses
        self.scores[indices] = self.alpha * self.scores[indices] + (1 - self.alpha) * value
        weights = self.weights[indices].to(loss.device)
        return loss * weights.mean() if loss.dim() == 0 else (loss * weights).mean()


def textbook_infobatch(scores: Tensor, prune_ratio: float = 0.5) -> tuple[list[int], Tensor]:
    below = (scores < scores.mean()).numpy()
    candidates = np.where(below)[0]
    kept = np.where(~below)[0].tolist()
    selected = np.random.choice(  # noqa: NPY002
        candidates, int((1 - prune_ratio) * len(candidates)), replace=False
    )
    weights = torch.ones(len(scores))
    weights[selected] = 1 / (1 - prune_ratio)
    kept.extend(selected.tolist())
    random.shuffle(kept)
    return kept, weights


def textbook_seta(
    scores: Tensor,
    epoch: int,
    starts: int,
    prune_ratio: float = 0.1,
    num_groups: int = 5,
    width: int = 4,
) -> list[int]:
    kept = np.random.permutation(len(scores))[: int((1 - prune_ratio) * len(scores))]  # noqa: NPY002
    values = scores.numpy()[kept].reshape(-1, 1)
    kmeans = KMeans(n_clusters=num_groups, n_init=starts, random_state=0).fit(values)
    rank = np.argsort(np.argsort(kmeans.cluster_centers_.ravel()))
    groups: list[list[int]] = [[] for _ in range(num_groups)]
    for index, label in zip(kept.tolist(), kmeans.labels_.tolist(), strict=True):
        groups[rank[label]].append(index)
    first = epoch % (num_groups - width + 1)
    chosen = [index for group in groups[first : first + width] for index in group]
    random.shuffle(chosen)
    return chosen


def seconds_of(call: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(times)


def peak(call: Callable[[], object]) -> str:
    return f"{traced_peak_of(call) / 2**20:,.0f} MiB"


def bytes_kept(num_samples: int, steps: int = 5_000) -> float:
    """Return the number of bytes that a step with a mean loss keeps until the epoch ends."""
    train = in_epoch(num_samples, weighted=False)
    order = train.begin_epoch().order
    loss = torch.tensor(1.0)
    tracemalloc.start()
    for start in range(0, steps * BATCH, BATCH):
        train.update(loss, indices=order[start % num_samples :][:BATCH])
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return kept / steps + 4  # the loss itself is in a tensor, which is not traced


def in_epoch(num_samples: int, *, weighted: bool) -> PrunedDataset:
    """Return BLS-InfoBatch in its second epoch, with weights, or in its first, without weights."""
    train: PrunedDataset = BLS(InfoBatch(range(num_samples), 100)).proxy()
    train.begin_epoch()
    if weighted:
        train.update(scores_of(num_samples), indices=torch.arange(num_samples))
        train.end_epoch()
        train.begin_epoch()
    return train


def scores_of(num_samples: int) -> Tensor:
    """Return scores distributed like losses: most of them low, a few high."""
    return torch.from_numpy(np.random.default_rng(0).lognormal(size=num_samples)).float()


@dataclass
class Step:
    """The seconds of the parts of a step."""

    update: float
    set_current: float
    textbook: float
    multiplication: float


def time_steps(train: PrunedDataset, loss: Tensor, steps: int, repeats: int) -> Step:
    """Time steps of dynaprune and of the textbook in turns, because the machine's speed drifts."""
    textbook = TextbookBLS(len(train), train.weights)
    indices = torch.randint(len(train), (BATCH,), generator=torch.Generator().manual_seed(0))
    batch = indices.numpy()
    share = train.begin_epoch()
    plan = share.plan
    weight = plan.mean_weight(batch)
    current = LoaderPass(plan, len(plan), None, train.epochs.passes)
    whole = len(share) // BATCH  # the number of full batches
    batches = chain.from_iterable(islice(share.batches(BATCH), whole) for _ in count())

    def per_step(call: Callable[[], object]) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            call()
        return (time.perf_counter() - started) / steps

    def set_current() -> None:
        content = indices.view(-1)  # a new object each time, as a loader yields
        train.epochs.passes.set_current(current, batch_of(content, *next(batches)))

    def hand_over_alone() -> None:
        set_current()
        current.waiting.clear()

    def both() -> None:
        set_current()
        train.update(loss)

    times = []
    for _ in range(repeats):
        handing = per_step(hand_over_alone)
        times.append(
            Step(
                per_step(both) - handing,
                handing,
                per_step(lambda: textbook.update(loss, indices)),
                per_step(lambda: loss * weight),
            )
        )
        train.epochs.progress.record = LossBuffer()  # forget these updates: the epoch goes on
    return Step(*(median(getattr(step, field.name) for step in times) for field in fields(Step)))


def time_by_indices(
    train: PrunedDataset, loss: Tensor, steps: int, repeats: int
) -> tuple[float, float]:
    """Return the seconds of `update(loss, indices=...)`, and of the textbook."""
    textbook = TextbookBLS(len(train), train.weights)
    order = train.begin_epoch().order.long()
    batches = [batch.clone() for batch in order[: len(order) // BATCH * BATCH].split(BATCH)]

    def repeated(update: Callable[[Tensor], object]) -> None:
        for batch in islice(cycle(batches), steps):
            update(batch)
        train.epochs.progress.record = LossBuffer()  # forget these updates: the epoch goes on

    ours, theirs = in_turns(
        partial(repeated, lambda batch: train.update(loss, indices=batch)),
        partial(repeated, lambda batch: textbook.update(loss, batch)),
        repeats,
    )
    return ours / steps, theirs / steps


def time_criteria(
    criterion: Callable[..., Tensor],
    targets: Tensor,
    chunks: int,
    repeats: int,
    calls: int = 100,
) -> tuple[float, float]:
    """Return the seconds for losses of slices, and for a mean loss, with gradients."""
    sliced = chunked(criterion, chunks)
    logits = torch.randn(BATCH, 10, requires_grad=True)

    def repeated(criterion: Callable[..., Tensor]) -> None:
        for _ in range(calls):
            criterion(logits, targets).mean().backward()

    ours, theirs = in_turns(partial(repeated, sliced), partial(repeated, criterion), repeats)
    return ours / calls, theirs / calls


def of_the_users_own(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, labels)


def time_training_steps(repeats: int, steps: int = 5) -> tuple[float, float]:
    """Return the seconds of a training step with losses of slices, and with a mean loss."""
    plain = nn.CrossEntropyLoss()
    sliced = chunked(plain, CHUNKS)
    model = typical_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    dataset = random_images(BATCH, 3, 32)
    images = torch.stack([dataset[i][0] for i in range(BATCH)])
    labels = torch.tensor(dataset.labels)

    def repeated(criterion: Callable[..., Tensor]) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            criterion(model(images), labels).mean().backward()
            optimizer.step()

    ours, theirs = in_turns(partial(repeated, sliced), partial(repeated, plain), repeats)
    return ours / steps, theirs / steps


def in_turns(
    ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Return the median times of two calls that take turns, because the machine's speed drifts."""
    ours(), theirs()
    times = [(seconds_of(ours, 1), seconds_of(theirs, 1)) for _ in range(repeats)]
    return median(first for first, _ in times), median(second for _, second in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    samples = options.samples

    table = Table(title=f"{samples:,} samples, batches of {BATCH}, torch {torch.__version__}")
    table.add_column("what")
    for name in ("dynaprune", "textbook", "ratio", "memory", "textbook's"):
        table.add_column(name, justify="right")

    def row(what: str, ours: float, theirs: float, unit: str, *memory: str) -> None:
        scale = {"µs": 1e6, "ms": 1e3}[unit]
        table.add_row(
            what,
            f"{ours * scale:,.1f} {unit}",
            f"{theirs * scale:,.1f} {unit}",
            f"{theirs / ours:.{1 if theirs > ours else 2}f}×",
            *memory,
        )

    def steps(loss: Tensor, *, weighted: bool) -> Step:
        train = in_epoch(samples, weighted=weighted)
        return time_steps(train, loss, options.steps, options.repeats)

    mean_loss = torch.tensor(2.0, requires_grad=True) * 1.5  # with a graph, as in training
    losses = torch.ones(BATCH, requires_grad=True) * 1.5
    step = steps(mean_loss, weighted=False)
    kept = f"{bytes_kept(samples):.0f} B kept"
    row("step: update, all weights 1", step.update, step.textbook, "µs", kept, "0 B kept")
    step = steps(mean_loss, weighted=True)
    row("step: update, with weights", step.update, step.textbook, "µs")
    row("step: update, set indices", step.update + step.set_current, step.textbook, "µs")
    row("step: multiplication alone", step.multiplication, step.textbook, "µs")
    step = steps(losses, weighted=True)
    row("step: update with a loss vector", step.update, step.textbook, "µs")
    slices = torch.ones(CHUNKS, requires_grad=True) * 1.5
    step = steps(slices, weighted=True)
    row(f"step: update with losses of {CHUNKS} slices", step.update, step.textbook, "µs")
    for what, loss in (
        ("update(indices=)", mean_loss),
        ("update(indices=), loss vector", losses),
        (f"update(indices=), {CHUNKS} slices", slices),
    ):
        train = in_epoch(samples, weighted=True)
        row(f"step: {what}", *time_by_indices(train, loss, options.steps, options.repeats), "µs")

    labels = torch.arange(BATCH) % 10
    shares = torch.randn(BATCH, 10).softmax(1)
    for name, criterion, targets in (
        ("cross entropy", nn.CrossEntropyLoss(), labels),
        ("probabilities", nn.CrossEntropyLoss(), shares),
        ("MSELoss", nn.MSELoss(), shares),
        ("user's own", of_the_users_own, labels),
    ):
        for chunks in (CHUNKS, BATCH):
            times = time_criteria(criterion, targets, chunks, options.repeats)
            row(f"criterion: {name}, C={chunks}", *times, "µs")
    whole_steps = time_training_steps(options.repeats * 3)
    row(f"training step: {CHUNKS} slices, plain", *whole_steps, "ms")

    scores = scores_of(samples)
    infobatch, seta = InfoBatch(range(samples), 100), SeTa(range(samples), 100)

    def plan(train: PrunedDataset) -> int:
        selection = train.select(scores, 1, epoch_generator(0, 1))
        check_selection(selection, samples, type(train).__name__)
        return len(make_plan(selection, samples, 1, 0))

    def plan_row(
        what: str, train: PrunedDataset, textbook: Callable[[], object], repeats: int = 3
    ) -> None:
        ours = partial(plan, train)
        row(
            f"epoch: {what}",
            seconds_of(ours, options.repeats),
            seconds_of(textbook, repeats),
            "ms",
            peak(ours),
            peak(textbook),
        )

    plan_row("InfoBatch plan", infobatch, partial(textbook_infobatch, scores))
    for starts in (1, 10):
        textbook = partial(textbook_seta, scores, 1, starts)
        plan_row(f"SeTa plan, KMeans(n_init={starts})", seta, textbook)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
