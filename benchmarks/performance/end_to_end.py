"""The share of wall-clock time that pruning saves in whole training runs.

    python benchmarks/performance/end_to_end.py [--root CIFAR10] [--save runs/end_to_end.json]

It prints the share of wall-clock time saved, divided by the share of sample visits saved. The
settings are in end_to_end_settings.py. Those with a loader: `small`, in which data loading and
Python take nearly all the time, without workers and with two (`workers`); and `typical`, a small
residual network on images of CIFAR-10, or without `--root` on random images of the same shape.
Those without a loader, with all data as tensors in memory and with short steps: `memory`, a small
MLP, and `memory-cnn`, a small CNN.

The reference is a plain loop with the same model, optimizer, epochs and batch size: over torch's
DataLoader, or over `torch.randperm(N).split(B)` for data in memory, which `train.batches(B)`
replaces. "nothing pruned" is the loop with dynaprune's three lines that serves everything: the cost
of dynaprune itself. "as few samples" is the plain loop over as many random samples per epoch as
BLS-InfoBatch serves. That is the most that pruning could save, because an epoch also has costs that
do not depend on its samples (starting workers, an incomplete last batch).

The machine's speed drifts, so all runs of a repeat take turns, each with some batches, such that
they progress equally through their epochs; with workers, which fetch ahead, they take turns epoch
by epoch. The time of a run is the sum over epochs of the median over repeats, so that a stall in
one repeat has little effect. Not timed: objects created once before training, and the first calls
of each kind. In brackets: 95% intervals, by a bootstrap over repeats.

With `--save`, each repeat is written when it finishes, and the script continues where it stopped.
Remove the file after a change of the code.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import torch
from end_to_end_settings import (
    BATCH,
    FEWER,
    IN_MEMORY,
    INFOBATCH,
    LOADED,
    NOTHING,
    PLAIN,
    SAVING,
    SETA,
    Setting,
    described,
    settings_of,
)
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from dynaprune import BLS, InfoBatch, PrunedDataset

RESAMPLES = 400
BLOCK = 16
"""The number of batches per turn: enough to have code and data in the caches, as in a single run.
"""

RUNS = (PLAIN, NOTHING, INFOBATCH, FEWER, SETA)
"""The runs in each repeat."""

Epochs: TypeAlias = dict[str, list[list[float]]]
"""One repeat: for each run the seconds and the sample visits of every epoch."""


@dataclass
class Run:
    """A training run that can be advanced batch by batch.

    Attributes:
        batches: the batches of an epoch: those of a loader, or indices into `data`.
        data: the `data` of the setting.
        model: the model.
        optimizer: its optimizer.
        train: the pruned dataset, if there is one.
        seconds: the time of each epoch so far.
        visits: the sample visits of each epoch so far.
    """

    batches: Iterable[Any]
    data: tuple[Tensor, Tensor] | None
    model: nn.Module
    optimizer: torch.optim.Optimizer
    train: PrunedDataset | None
    seconds: list[float] = field(default_factory=list)
    visits: list[float] = field(default_factory=list)

    def train_epoch(self) -> Iterator[None]:
        """Train one epoch as a user writes it, and pause before the first and after each batch.

        Only the time between pauses counts.
        """
        model, optimizer, train, visits = self.model, self.optimizer, self.train, 0
        all_images, all_labels = self.data or (None, None)
        spent = 0.0
        yield
        started = time.perf_counter()
        for batch in self.batches:
            if all_images is None or all_labels is None:
                images, labels = batch
            else:
                images, labels = all_images[batch], all_labels[batch]
            loss = nn.functional.cross_entropy(model(images), labels)
            if train is not None:
                loss = train.update(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            visits += len(labels)
            spent += time.perf_counter() - started
            yield
            started = time.perf_counter()
        self.seconds.append(spent + time.perf_counter() - started)
        self.visits.append(visits)


def make_run(setting: Setting, name: str, seed: int) -> Run:
    torch.manual_seed(seed)
    model = setting.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    train = setting.pruned(name, seed)
    batches = setting.plain_batches() if train is None else setting.pruned_batches(train)
    return Run(batches, setting.data, model, optimizer, train)


def lengths_of_infobatch(setting: Setting) -> list[int]:
    """Return the lengths of InfoBatch's epochs, which with `saving` do not depend on losses."""
    train = BLS(InfoBatch(range(len(setting.dataset)), setting.epochs, saving=SAVING)).proxy()
    lengths = []
    for _ in range(setting.epochs):
        order = train.begin_epoch().order
        lengths.append(len(order))
        train.update(torch.tensor(1.0), indices=order)
        train.end_epoch()
    return lengths


def train_in_turns(setting: Setting, repeat: int) -> Epochs:
    """Train all runs; the first one rotates with epochs and repeats."""
    runs = {name: make_run(setting, name, repeat) for name in RUNS}
    for epoch, served in enumerate(lengths_of_infobatch(setting)):
        runs[FEWER].batches = setting.plain_batches(served)
        first = (repeat + epoch) % len(RUNS)
        names = (*RUNS[first:], *RUNS[:first])
        if setting.workers > 0:
            for name in names:
                for _ in runs[name].train_epoch():
                    pass
        else:
            take_turns([runs[name].train_epoch() for name in names], setting, names, served)
    return {name: [run.seconds, run.visits] for name, run in runs.items()}


def take_turns(
    epochs: list[Iterator[None]], setting: Setting, names: Sequence[str], served: int
) -> None:
    """Train an epoch of each run, such that all progress equally through it."""
    whole = -(-len(setting.dataset) // BATCH)
    expected = [-(-served // BATCH) if name in (FEWER, INFOBATCH) else whole for name in names]
    done = [-1] * len(epochs)  # the first pause is before the first batch
    running = list(range(len(epochs)))
    while running:
        run = min(running, key=lambda each: done[each] / expected[each])
        try:
            for _ in range(BLOCK):
                next(epochs[run])
                done[run] += 1
        except StopIteration:
            running.remove(run)


def warm_up(setting: Setting) -> None:
    """Train a few epochs of a few batches of every run, because first calls are slower."""
    samples = min(len(setting.dataset), 3 * BATCH + BATCH // 2)
    train_in_turns(setting.resized(samples, epochs=4), 0)


class Results:
    """The repeats so far, optionally kept in a file.

    Arguments:
        file: the path of the file, if any.
        made_with: the options that all repeats must share.

    Raises:
        SystemExit: the file's repeats were made with other options.
    """

    def __init__(self, file: Path | None, made_with: dict[str, Any]) -> None:
        self.file, self.made_with = file, made_with
        self.repeats: dict[str, list[Epochs]] = {}
        if file is not None and file.exists():
            content = json.loads(file.read_text())
            if content["made_with"] != made_with:
                raise SystemExit(
                    f"{file} was made with {content['made_with']}, but this is {made_with}: "
                    "give another file, or remove it"
                )
            self.repeats = content["repeats"]

    def add(self, setting: str, epochs: Epochs) -> None:
        """Add a repeat of a setting."""
        self.repeats.setdefault(setting, []).append(epochs)
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_name(f"{self.file.name}.part")
        summary = {name: summarised(repeats) for name, repeats in self.repeats.items()}
        content = {"made_with": self.made_with, "repeats": self.repeats, "summary": summary}
        part.write_text(json.dumps(content))
        part.replace(self.file)


@dataclass
class Spread:
    """A number, and the bounds of its 95% interval over the repeats."""

    value: float
    lowest: float
    highest: float

    def text(self, digits: int) -> str:
        """Return it as `0.974 (0.968 to 0.981)`."""
        value, lowest, highest = (
            f"{each:.{digits}f}" for each in (self.value, self.lowest, self.highest)
        )
        return f"{value} ({lowest} to {highest})"


def spread(repeats: list[Epochs], measure: Callable[[list[Epochs]], float]) -> Spread:
    """Return a measure of all repeats, with its bootstrap interval."""
    draw = random.Random(0)
    drawn = (draw.choices(repeats, k=len(repeats)) for _ in range(RESAMPLES))
    values = sorted(map(measure, drawn))
    tail = RESAMPLES // 40
    return Spread(measure(repeats), values[tail], values[-1 - tail])


def total(repeats: list[Epochs], name: str, part: int) -> float:
    """Return a run's seconds (part 0) or visits (part 1): a sum of each epoch's median."""
    return sum(median(epoch) for epoch in zip(*(each[name][part] for each in repeats), strict=True))


@dataclass
class Row:
    """A run compared with the plain one, over the repeats.

    Attributes:
        seconds: the time of the run.
        visits_saved: the share of the plain run's sample visits that was saved, in [0, 1).
        time_saved: the share of the plain run's wall-clock time that was saved.
        ratio: `time_saved` over `visits_saved`; `None` if no visits were saved.
    """

    seconds: float
    visits_saved: float
    time_saved: Spread
    ratio: Spread | None


def row_of(repeats: list[Epochs], name: str) -> Row:
    def saved(part: int, drawn: list[Epochs]) -> float:
        return 1 - total(drawn, name, part) / total(drawn, PLAIN, part)

    visits = saved(1, repeats)
    ratio = spread(repeats, lambda drawn: saved(0, drawn) / saved(1, drawn)) if visits > 0 else None
    time_saved = spread(repeats, partial(saved, 0))
    return Row(total(repeats, name, 0), visits, time_saved, ratio)


def summarised(repeats: list[Epochs]) -> dict[str, Any]:
    return {name: asdict(row_of(repeats, name)) for name in repeats[0]}


def table_of(repeats: list[Epochs], title: str) -> Table:
    seconds = row_of(repeats, PLAIN).seconds
    steps = sum(-(-visits // BATCH) for visits in repeats[0][PLAIN][1])
    plain = f"plain: {seconds:.2f} s, {1e3 * seconds / steps:.2f} ms per step"
    table = Table(title=f"{title}, {len(repeats)} repeats; {plain}")
    table.add_column("")
    for name in ("visits\nsaved %", "wall-clock\nsaved %", "ratio"):
        table.add_column(name, justify="right")
    for name in (NOTHING, INFOBATCH, SETA, FEWER):
        row = row_of(repeats, name)
        saved = row.time_saved
        percent = Spread(100 * saved.value, 100 * saved.lowest, 100 * saved.highest)
        table.add_row(
            name,
            f"{100 * row.visits_saved:.1f}",
            percent.text(1),
            "" if row.ratio is None else row.ratio.text(3),
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = (*LOADED, *IN_MEMORY)
    parser.add_argument("--settings", nargs="+", choices=names, default=names)
    parser.add_argument("--root", type=Path, help="CIFAR-10; see `dynaprune demo --help`")
    parser.add_argument("--samples", type=int, default=4_000, help="samples of typical")
    parser.add_argument("--small-samples", type=int, default=16_000, help="of small and workers")
    parser.add_argument("--memory-samples", type=int, default=50_000, help="of memory, memory-cnn")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--save", type=Path, help="JSON file of results, to be continued")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    keys = ("samples", "small_samples", "memory_samples", "epochs", "threads")
    results = Results(
        options.save,
        {key: getattr(options, key) for key in keys}
        | {
            "data": "random" if options.root is None else "cifar10",
            "batch_size": BATCH,
            "saving": SAVING,
            "torch": str(torch.__version__),
        },
    )
    settings = settings_of(options)
    for setting in settings.values():
        done = len(results.repeats.get(setting.name, []))
        if done < options.repeats:
            warm_up(setting)
        for repeat in range(done, options.repeats):
            results.add(setting.name, train_in_turns(setting, repeat))
        title = described(setting, options)
        Console().print(table_of(results.repeats[setting.name], title))


if __name__ == "__main__":
    main()
