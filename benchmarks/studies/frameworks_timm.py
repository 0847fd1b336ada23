"""Full training against pruned training at 30% of visits saved, in timm.

    python benchmarks/studies/frameworks_timm.py --data DATA [--seeds 5]
    python benchmarks/studies/frameworks_timm.py --tables  # fills docs/timm.md

It trains in the environment of `make test-vision`; `--tables` needs the extra `bench`. DATA is a
folder with `cifar10-images.zip`: 4,000 of its images train and 2,000 test. Full training and its
times are of timm's own loader, without dynaprune. The model of full training also tells what the
losses of mixed batches say of their samples. Each run's result is written when it finishes; the
script continues where it stopped.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept_runs import RESULTS, Runs
from torch import Tensor, nn

from dynaprune import BLS, InfoBatch, RandomPrune
from dynaprune.bench.statistics import mean_of

sys.path.extend(str(Path(__file__).parents[2] / each) for each in ("benchmarks", "tests/support"))
from pages import DOCS, fill_page
from torchvision_operators import declare_operators

SAVING, EPOCHS, BATCH_SIZE = 0.3, 10, 64
PER_CLASS = {"train": 400, "test": 200}
METHODS = ("full", "fewer epochs", "RandomPrune", "BLS-InfoBatch")
MIXING: dict[str, dict[str, Any]] = {
    "Mixup, one share a batch": {"mixup_alpha": 0.2},
    "Mixup, a share each image": {"mixup_alpha": 0.2, "mode": "elem"},
    "CutMix, one share a batch": {"mixup_alpha": 0.0, "cutmix_alpha": 1.0},
    "CutMix, a share each image": {"mixup_alpha": 0.0, "cutmix_alpha": 1.0, "mode": "elem"},
}
MIXED_EPOCHS = 5
"""How often each sample is mixed to see what the losses of mixed batches say of it."""

PAIRS = 12
"""How many pairs of a full and a pruned epoch are timed."""


def extract(archive: Path, folder: Path) -> None:
    """Write the first images of each class, as a tree that timm reads."""
    with zipfile.ZipFile(archive) as file:
        for split, count in PER_CLASS.items():
            names = sorted(n for n in file.namelist() if f"{split}/" in n and n.endswith(".jpg"))
            for _, of_class in itertools.groupby(names, lambda name: name.rsplit("/", 1)[0]):
                for name in list(of_class)[:count]:
                    file.extract(name, folder)


def loader_of(dataset: Any, is_training: bool, **options: Any) -> Any:
    from dynaprune.integrations.timm import create_loader

    return create_loader(
        dataset,
        (3, 32, 32),
        BATCH_SIZE,
        is_training=is_training,
        scale=(0.6, 1.0),
        color_jitter=0.0,
        crop_pct=1.0,
        num_workers=0,
        device=torch.device("cpu"),
        **options,
    )


def made(seed: int, epochs: int, updates: int) -> tuple[nn.Module, Any, Any]:
    """Return a model, an optimizer and a schedule, as timm's script makes them."""
    import timm
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2

    torch.manual_seed(seed)
    model = timm.create_model("test_resnet", num_classes=10)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=3e-3, weight_decay=0.05)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        num_epochs=epochs,
        warmup_epochs=1,
        warmup_lr=3e-4,
        step_on_epochs=False,
        updates_per_epoch=updates,
    )
    return model, optimizer, scheduler


def train_epoch(
    model: nn.Module, loader: Any, optimizer: Any, scheduler: Any, train: Any, made_before: int
) -> int:
    """Train an epoch as timm's script does, and return how many samples it has visited."""
    from timm.loss import SoftTargetCrossEntropy

    criterion, visits = SoftTargetCrossEntropy(), 0
    model.train()
    for number, (images, labels) in enumerate(loader):
        targets = labels if labels.ndim == 2 else nn.functional.one_hot(labels, 10)
        loss = criterion(model(images), targets)
        if train is not None:
            loss = train.update(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step_update(made_before + number + 1)
        visits += len(images)
    return visits


def losses_of(model: nn.Module, dataset: Any) -> tuple[Tensor, float]:
    """Return the loss of each sample of a dataset as it is, and the accuracy."""
    model.eval()
    losses, hits = [], 0
    with torch.no_grad():
        for images, labels in loader_of(dataset, is_training=False):
            outputs = model(images)
            losses.append(nn.functional.cross_entropy(outputs, labels, reduction="none"))
            hits += int((outputs.argmax(1) == labels).sum())
    return torch.cat(losses), hits / len(dataset)


def train(method: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train by a method, and return the accuracy, the visits and the seconds of training."""
    from timm.data import create_dataset

    from dynaprune.integrations.timm import PrunedScheduler

    dataset = create_dataset("", root=folder, split="train")
    epochs = round(EPOCHS * (1 - SAVING)) if method == "fewer epochs" else EPOCHS
    pruned: Any = None
    if method == "BLS-InfoBatch":
        pruned = BLS(InfoBatch(dataset, EPOCHS, saving=SAVING, seed=seed)).proxy()
    elif method == "RandomPrune":
        pruned = RandomPrune(dataset, EPOCHS, saving=SAVING, seed=seed)
    updates = len(dataset) // BATCH_SIZE
    model, optimizer, scheduler = made(seed, epochs, updates)
    loader = loader_of(dataset if pruned is None else pruned, is_training=True)
    if pruned is not None:
        scheduler = PrunedScheduler(scheduler, loader, updates)
    visits, started = 0, time.perf_counter()
    for epoch in range(epochs):
        visits += train_epoch(model, loader, optimizer, scheduler, pruned, epoch * updates)
    wall = time.perf_counter() - started
    _, accuracy = losses_of(model, create_dataset("", root=folder, split="test"))
    result = {"accuracy": accuracy, "visits": visits, "wall": wall}
    if method == "full":
        result["mixing"] = mix(model, create_dataset("", root=folder, split="train"), seed)
    return result


def mix(model: nn.Module, dataset: Any, seed: int) -> dict[str, float]:
    """Return how the losses of mixed batches correlate with those of the same samples unmixed."""
    from timm.data import Mixup
    from timm.loss import SoftTargetCrossEntropy

    losses, _ = losses_of(model, dataset)
    images, labels = map(torch.cat, zip(*loader_of(dataset, is_training=False), strict=True))
    generator, correlations = torch.Generator().manual_seed(seed), {}
    for name, settings in MIXING.items():
        mixing = Mixup(**settings, label_smoothing=0.0, num_classes=10)
        mixed, plain = [], []
        for _ in range(MIXED_EPOCHS):
            order = torch.randperm(len(labels), generator=generator)
            for batch in order.split(BATCH_SIZE)[: len(labels) // BATCH_SIZE]:
                with torch.no_grad():
                    inputs, targets = mixing(images[batch], labels[batch])
                    mixed.append(float(SoftTargetCrossEntropy()(model(inputs), targets)))
                plain.append(float(losses[batch].mean()))
        correlations[name] = float(np.corrcoef(mixed, plain)[0, 1])
    return correlations


def time_epochs(folder: Path) -> Iterator[dict[str, Any]]:
    """Time an epoch of timm's loader and a pruned one after the other, again and again."""
    from timm.data import create_dataset

    from dynaprune.integrations.timm import PrunedScheduler

    dataset = create_dataset("", root=folder, split="train")
    pruned = BLS(InfoBatch(dataset, PAIRS + 1, saving=SAVING)).proxy()
    updates = len(dataset) // BATCH_SIZE
    runs = []
    for each in (None, pruned):
        loader = loader_of(dataset if each is None else each, is_training=True)
        model, optimizer, scheduler = made(0, PAIRS + 1, updates)
        if each is not None:
            scheduler = PrunedScheduler(scheduler, loader, updates)
        runs.append((model, loader, optimizer, scheduler, each))
    for pair in range(PAIRS + 1):
        timed = {}
        for name, run in zip(("full", "pruned"), runs, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            visits = train_epoch(*run, pair * updates)
            timed |= {
                f"{name}_visits": visits,
                f"{name}_wall": time.perf_counter() - wall,
                f"{name}_cpu": time.process_time() - cpu,
            }
        if pair > 0:  # the first one warms up
            yield timed


def saved_over_visits(timed: dict[str, Any], clock: str) -> float:
    """Return the share of time saved over the share of visits saved."""
    time_saved = 1 - timed[f"pruned_{clock}"] / timed[f"full_{clock}"]
    return float(time_saved / (1 - timed["pruned_visits"] / timed["full_visits"]))


def measured(results: list[dict[str, Any]]) -> str:
    """Return the table of methods, and how much time a saved visit saves."""
    lines = [
        "| method | accuracy % | against full % | visits saved % |",
        "| --- | ---: | ---: | ---: |",
    ]
    of = {(r["method"], r["seed"]): r for r in results if r["part"] == "quality"}
    seeds = [seed for method, seed in of if method == METHODS[-1]]  # that are complete
    for method in METHODS:
        runs = [(of[method, seed], of["full", seed]) for seed in seeds]
        accuracy = mean_of([run["accuracy"] for run, _ in runs])
        against = mean_of([run["accuracy"] - full["accuracy"] for run, full in runs])
        visits = statistics.mean(1 - run["visits"] / full["visits"] for run, full in runs)
        lines.append(
            f"| {method} | {accuracy.percent()} | {against.percent(sign=True)} "
            f"| {100 * visits:.1f} |"
        )
    timed = [r for r in results if r["part"] == "time"]
    wall, cpu = (
        statistics.median(saved_over_visits(each, clock) for each in timed)
        for clock in ("wall", "cpu")
    )
    step = statistics.median(r["full_cpu"] / r["full_visits"] for r in timed) * BATCH_SIZE
    return "\n".join(
        [
            *lines,
            "",
            f"{len(seeds)} seeds, 95% intervals. The share of wall-clock time saved over the share "
            f"of visits saved is {wall:.2f}, and {cpu:.2f}",
            f"for CPU time: medians of {len(timed)} pairs of an epoch by timm's own loader and a "
            "pruned one, on a busy machine; a",
            f"step takes {1000 * step:.0f} ms of CPU time.",
            "",
        ]
    )


def mixing(results: list[dict[str, Any]]) -> str:
    """Return the table of what the losses of mixed batches say."""
    lines = [
        "| mixing | correlation of a batch's loss with that of its samples unmixed |",
        "| --- | ---: |",
    ]
    found = [r["mixing"] for r in results if "mixing" in r]
    for name in MIXING:
        lines.append(f"| {name} | {mean_of([each[name] for each in found]).text(digits=2)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="the folder that holds cifar10-images.zip")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "frameworks-timm.jsonl")
    arguments = parser.parse_args()
    runs = Runs(arguments.out)
    if arguments.tables:
        parts = {"measured": measured(runs.results), "mixing": mixing(runs.results)}
        fill_page(DOCS / "timm.md", parts)
        return
    declare_operators()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extract(arguments.data / "cifar10-images.zip", folder)
        if not any(r["part"] == "time" for r in runs.results):
            for pair, timed in enumerate(time_epochs(folder)):
                runs.do({"part": "time", "pair": pair}, dict, timed)
        for seed in range(arguments.seeds):
            for method in METHODS:
                key = {"part": "quality", "seed": seed, "method": method}
                runs.do(key, train, method, seed, folder)


if __name__ == "__main__":
    main()
