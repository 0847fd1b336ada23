"""How much of what is pruned becomes time saved, in whole training runs.

    python benchmarks/performance/end_to_end.py [--root CIFAR10] [--save runs/end_to_end.json]

The share of wall-clock that pruning saves, divided by the share of sample visits that it saves.
Settings with a loader: `small`, where data loading and Python take nearly all the time, without
workers and with two (`workers`); and `typical`, a small residual network on images of CIFAR-10, or
on random ones of the same shape without `--root`. Settings without one, where all data are tensors
in memory and steps are short: `memory`, a small MLP, and `memory-cnn`, a small CNN.

The comparison is with a plain loop that has the same model, optimizer, epochs and batch size: over
torch's DataLoader, or over `torch.randperm(N).split(B)` where data are in memory, which
`train.batches(B)` replaces. "nothing pruned" is the loop with dynaprune's three lines that serves
everything: what dynaprune itself costs. "as few samples" is the plain loop again, over as many
random samples an epoch as BLS-InfoBatch serves: the most that any pruning could save, because an
epoch also costs what does not depend on its samples (workers that start, a last batch that is not
full).

The machine's speed drifts, so all runs of a repeat take turns: some batches each, as far along in
their epochs as each other, or epoch by epoch where workers fetch ahead. A run's time is the sum of
its epochs' medians over the repeats, so that a stall in one of them counts little. Not timed: what
is made once before training, and calls that are the first of their kind. In brackets: a 95%
interval, by bootstrap over the repeats, of which each holds all runs.

With `--save`, each repeat is written as it comes, and a benchmark that was stopped goes on where it
was. Remove the file after a change to the code.
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
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import Dataset, RandomSampler

import dynaprune
from dynaprune import BLS, InfoBatch, NoPrune, PrunedDataset, SeTa
from dynaprune.bench.tasks.image_sets import load_images

BATCH, SAVING, RESAMPLES = 128, 0.3, 400
BLOCK = 16
"""Batches a turn: enough for code and data to be in the caches, as in a run that is alone."""

PLAIN, NOTHING, FEWER = "plain", "nothing pruned", "plain, as few samples"
INFOBATCH, SETA = "BLS-InfoBatch", "BLS-SeTa"

RUNS = (PLAIN, NOTHING, INFOBATCH, FEWER, SETA)
"""The runs of a repeat."""

LOADED = ("small", "workers", "typical")
IN_MEMORY = ("memory", "memory-cnn")
"""The settings, with a loader and without."""

Epochs: TypeAlias = dict[str, list[list[float]]]
"""Of one repeat: for each run the seconds and the sample visits of every epoch."""


class Images(Dataset[tuple[Tensor, int]]):
    """Images that are normalised when they are fetched, and mirrored half of the time."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index].float().div_(127.5).sub_(1)
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
        return image, self.labels[index]

    def in_memory(self) -> tuple[Tensor, Tensor]:
        """Return all images, normalised, and their labels."""
        return self.images.float().div_(127.5).sub_(1), torch.tensor(self.labels)


class Residual(nn.Module):
    """Two convolutions beside a shortcut, at half the resolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(channels, out, 1, stride=2, bias=False)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.relu(self.layers(images) + self.shortcut(images))


def small_model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def memory_model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))


def memory_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 10),
    )


def typical_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Residual(16, 32),
        Residual(32, 64),
        Residual(64, 128),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def random_images(samples: int, channels: int, size: int) -> Images:
    generator = torch.Generator().manual_seed(0)
    shape = (samples, channels, size, size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return Images(images, torch.randint(10, (samples,), generator=generator))


def cifar10(root: Path, samples: int) -> Images:
    """Return a random subset of CIFAR-10."""
    images, labels = load_images("cifar10", root).train.tensors
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:samples]
    return Images(images[chosen], labels[chosen])


@dataclass
class Setting:
    """What is trained, and on what.

    Attributes:
        name: as given on the command line.
        dataset: the whole training set.
        model: makes a model.
        epochs: of a run.
        workers: of the loader.
        data: all images and labels, if they are in memory and there is no loader.
    """

    name: str
    dataset: Images
    model: Callable[[], nn.Module]
    epochs: int
    workers: int = 0
    data: tuple[Tensor, Tensor] | None = None

    def pruned(self, run: str, seed: int) -> PrunedDataset | None:
        """Return the training set of a run, or `None` where it is not dynaprune's."""
        methods: dict[str, Callable[..., PrunedDataset]] = {
            NOTHING: NoPrune,
            INFOBATCH: partial(InfoBatch, saving=SAVING),
            SETA: SeTa,
        }
        if run not in methods:
            return None
        train: PrunedDataset = BLS(methods[run](self.dataset, self.epochs, seed=seed)).proxy()
        return train

    def plain_batches(self, served: int | None = None) -> Iterable[Any]:
        """Return what the plain loop runs over in an epoch: all samples, or that many random ones.

        Over everything it is made once, as users make it, and can be run over in each epoch.
        """
        if self.data is not None:
            return Shuffled(len(self.dataset), served)
        random_ones = None if served is None else RandomSampler(self.dataset, num_samples=served)
        return torch.utils.data.DataLoader(
            self.dataset,
            batch_size=BATCH,
            shuffle=random_ones is None,
            sampler=random_ones,
            num_workers=self.workers,
        )

    def pruned_batches(self, train: PrunedDataset) -> Iterable[Any]:
        if self.data is not None:
            return train.batches(BATCH)
        return dynaprune.DataLoader(
            train, batch_size=BATCH, sampler=train.sampler, num_workers=self.workers
        )

    def of(self, samples: int, epochs: int) -> Setting:
        """Return the setting with fewer samples and other epochs."""
        few = Images(self.dataset.images[:samples], torch.tensor(self.dataset.labels[:samples]))
        data = None if self.data is None else few.in_memory()
        return Setting(self.name, few, self.model, epochs, self.workers, data)


@dataclass
class Shuffled:
    """Batches of random indices, in the one line that needs no library.

    Attributes:
        samples: in the training set.
        served: how many of them an epoch has; `None` for all.
    """

    samples: int
    served: int | None

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.randperm(self.samples)[: self.served].split(BATCH))


@dataclass
class Run:
    """A training run, an epoch at a time.

    Attributes:
        batches: of the epoch: what a loader yields, or indices into `data`.
        data: as that of the setting.
        model, optimizer: what is trained, and by what.
        train: the pruned dataset, if there is one.
        seconds, visits: of the epochs so far.
    """

    batches: Iterable[Any]
    data: tuple[Tensor, Tensor] | None
    model: nn.Module
    optimizer: torch.optim.Optimizer
    train: PrunedDataset | None
    seconds: list[float] = field(default_factory=list)
    visits: list[float] = field(default_factory=list)

    def train_epoch(self) -> Iterator[None]:
        """Train one epoch in the way that a user writes it, and pause after each batch.

        Its seconds are those between pauses, of which one is before the first batch.
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
    """Return how many samples its epochs serve: with `saving`, whatever the losses are."""
    train = BLS(InfoBatch(range(len(setting.dataset)), setting.epochs, saving=SAVING)).proxy()
    lengths = []
    for _ in range(setting.epochs):
        order = train.begin_epoch().order
        lengths.append(len(order))
        train.update(torch.tensor(1.0), indices=order)
        train.end_epoch()
    return lengths


def train_in_turns(setting: Setting, repeat: int) -> Epochs:
    """Train all runs; each epoch, and each repeat, another one comes first."""
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
    """Train an epoch of each run, so that all are equally far along all the time."""
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
    """Do what costs more the first time: a few epochs of a few batches of every run."""
    samples = min(len(setting.dataset), 3 * BATCH + BATCH // 2)
    train_in_turns(setting.of(samples, epochs=4), 0)


class Results:
    """The repeats so far, in a file if there is one.

    Arguments:
        file: where they are kept.
        made_with: what all repeats have in common.

    Raises:
        SystemExit: the file's repeats were made with something else.
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
    """Return what is measured on all repeats, and on repeats that are drawn from them."""
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
    """What a run came to beside the plain one, over the repeats.

    Attributes:
        seconds: of the run.
        visits_saved: share of the plain run's sample visits, in [0, 1).
        time_saved: share of the wall-clock of the plain run.
        ratio: wall-clock saved over visits saved; `None` where no visits are.
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
    plain = f"plain: {seconds:.2f} s, {1e3 * seconds / steps:.2f} ms a step"
    table = Table(title=f"{title}, {len(repeats)} repeats; {plain}")
    table.add_column("")
    for name in ("visits\nsaved %", "wall-clock\nsaved %", "their\nratio"):
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


def settings_of(options: argparse.Namespace) -> dict[str, Setting]:
    """Return the chosen settings by their names."""
    chosen, epochs = options.settings, options.epochs
    settings = {}
    small = random_images(options.small_samples, 1, 8)
    if "small" in chosen:
        settings["small"] = Setting("small", small, small_model, epochs)
    if "workers" in chosen:
        settings["workers"] = Setting("workers", small, small_model, epochs, workers=2)
    if "typical" in chosen:
        images = (
            random_images(options.samples, 3, 32)
            if options.root is None
            else cifar10(options.root, options.samples)
        )
        settings["typical"] = Setting("typical", images, typical_model, epochs)
    memory = random_images(options.memory_samples, 1, 8)
    for name, model in zip(IN_MEMORY, (memory_model, memory_cnn), strict=True):
        if name in chosen:
            settings[name] = Setting(name, memory, model, epochs, data=memory.in_memory())
    return settings


def described(setting: Setting, options: argparse.Namespace) -> str:
    kind = "images"
    if setting.name == "typical":
        kind = "random images" if options.root is None else "images of CIFAR-10"
    workers = f"{setting.workers} workers, " if setting.workers > 0 else ""
    threads = f"{options.threads} thread{'s' if options.threads > 1 else ''}"
    return (
        f"{setting.name}: {len(setting.dataset):,} {kind}, {setting.epochs} epochs, "
        f"batches of {BATCH}, {workers}torch {torch.__version__}, {threads}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = (*LOADED, *IN_MEMORY)
    parser.add_argument("--settings", nargs="+", choices=names, default=names)
    parser.add_argument("--root", type=Path, help="where CIFAR-10 is; see `dynaprune demo --help`")
    parser.add_argument("--samples", type=int, default=4_000, help="of the typical setting")
    parser.add_argument("--small-samples", type=int, default=16_000, help="of small and workers")
    parser.add_argument("--memory-samples", type=int, default=50_000, help="of those in memory")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1, help="of torch; one disturbs others less")
    parser.add_argument("--save", type=Path, help="JSON file of results; goes on with those in it")
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
