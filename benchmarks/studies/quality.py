"""What a model is worth after the same number of sample visits, by method and score.

    python benchmarks/studies/quality.py short --root DATA    # trains; goes on where it stopped
    python benchmarks/studies/quality.py short --table        # prints what there is
    python benchmarks/studies/quality.py short --plot quality-short.png
    python benchmarks/studies/quality.py --fill docs/quality.md

Settings: see `SETTINGS`. RandomPrune, and training for fewer epochs with its schedule scaled, are
the baselines at each budget. All methods of a seed see the same samples, and begin with the same
weights of the model; intervals of differences are of these pairs.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dynaprune.methods._annealing import first_annealed_epoch
from kept_runs import RESULTS, Runs
from tasks import Task, load
from torch import nn

from dynaprune import (
    BLS,
    UCB,
    DataLoader,
    EpsilonGreedy,
    InfoBatch,
    KalmanBLS,
    NoPrune,
    OrderDP,
    PrunedDataset,
    RandomPrune,
    RePB,
    SelectiveBackprop,
    SeTa,
    SkipConverged,
    TrimmedLoss,
    chunked,
)
from dynaprune.bench.recipe import one_cycle
from dynaprune.bench.statistics import Mean, mean_of
from dynaprune.methods._budget import Saving
from dynaprune.methods.info_batch import DELTA
from dynaprune.planning.selection import Selection

SLICES = 8
FULL, FEWER, RANDOM = "full training", "fewer epochs", "RandomPrune"


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Attributes:
        task: one of `tasks.NAMES`.
        samples: how many of its training samples; others in each seed.
        epochs: of full training.
        batch_size: samples a step.
        methods: keys of `METHODS`, each with the budgets at which it is run: shares of visits that
            are saved. A method that saves what it likes has the budget 0.
        wrong: the share of wrong labels.
        copies: the share of the samples that are copies of one in 16 of them.
    """

    task: str
    samples: int
    epochs: int
    batch_size: int
    methods: dict[str, tuple[float, ...]]
    wrong: float = 0.0
    copies: float = 0.0


@dataclass(frozen=True)
class Variant:
    """How a method is made, and what its loop reports.

    Attributes:
        make: called with the dataset, the number of epochs, the seed and the budget.
        slices: the number of losses that a batch reports; 0 for one of each sample.
        by_budget: whether it makes exactly as many visits as the budget says.
    """

    make: Callable[[Any, int, int, float], PrunedDataset]
    slices: int = 1


def _way(method: Any, score: Any = None, slices: int = 1, **more: Any) -> Variant:
    def make(data: Any, epochs: int, seed: int, saved: float) -> PrunedDataset:
        given = {"saving": saved} if saved else {}
        pruned = method(data, epochs, seed=seed, **given, **more)
        return pruned if score is None else score(pruned).proxy()

    return Variant(make, slices)


class FullStart(InfoBatch):
    """InfoBatch with `saving` that trains on everything in the first epoch."""

    def _spread(self, saving: float) -> Saving:
        end = first_annealed_epoch(self.delta, self.num_epochs)
        return Saving(saving, self.num_epochs, 1, end)


class FullEnds(FullStart):
    """InfoBatch with `saving` and the full epochs of the paper, the first and the last ones."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, delta=DELTA, **more)


class Drawn(FullEnds):
    """The same by scores that are drawn anew: its weights and full epochs, and nothing else."""

    def select(
        self, scores: torch.Tensor, epoch: int, generator: torch.Generator, *more: Any
    ) -> Selection:
        if epoch > 0:  # in the first one all are equal
            scores = torch.rand(scores.shape, generator=generator)
        return super().select(scores, epoch, generator)


def unweighted(method: type[InfoBatch]) -> type[InfoBatch]:
    """Return a method whose samples all have weight 1."""

    class Unweighted(method):
        def select(self, *given: Any, **more: Any) -> Selection:
            return Selection(super().select(*given, **more).indices)

    return Unweighted


METHODS: dict[str, Variant] = {
    FULL: _way(NoPrune),
    FEWER: _way(NoPrune),
    RANDOM: _way(RandomPrune),
    "InfoBatch, true losses": _way(InfoBatch, None, 0),
    "InfoBatch, BLS": _way(InfoBatch, BLS),
    "InfoBatch, KalmanBLS": _way(InfoBatch, KalmanBLS),
    "InfoBatch, KalmanBLS, slices": _way(InfoBatch, KalmanBLS, SLICES),
    "InfoBatch, weights 1, KalmanBLS": _way(unweighted(InfoBatch), KalmanBLS),
    "InfoBatch, weights 1, KalmanBLS, slices": _way(unweighted(InfoBatch), KalmanBLS, SLICES),
    "InfoBatch, full start, true losses": _way(FullStart, None, 0),
    "InfoBatch, full start, weights 1, true losses": _way(unweighted(FullStart), None, 0),
    "InfoBatch, full start, weights 1, KalmanBLS, slices": _way(
        unweighted(FullStart), KalmanBLS, SLICES
    ),
    "InfoBatch, full ends, true losses": _way(FullEnds, None, 0),
    "InfoBatch, full ends, weights 1, true losses": _way(unweighted(FullEnds), None, 0),
    "InfoBatch, full ends, BLS": _way(FullEnds, BLS),
    "InfoBatch, full ends, KalmanBLS": _way(FullEnds, KalmanBLS),
    "InfoBatch, full ends, KalmanBLS, slices": _way(FullEnds, KalmanBLS, SLICES),
    "InfoBatch, full ends, KalmanBLS, sorted slices": _way(
        FullEnds, KalmanBLS, SLICES, batch_size=64
    ),
    "InfoBatch, full ends, scores drawn": _way(Drawn, BLS),
    "InfoBatch, full ends, weights 1, scores drawn": _way(unweighted(Drawn), BLS),
    "SeTa, BLS": _way(SeTa, BLS),
    "SeTa, KalmanBLS, slices": _way(SeTa, KalmanBLS, SLICES),
    "SkipConverged, true losses": _way(SkipConverged, None, 0),
    "SkipConverged, BLS": _way(SkipConverged, BLS),
    "SkipConverged, KalmanBLS": _way(SkipConverged, KalmanBLS),
    "SkipConverged, KalmanBLS, slices": _way(SkipConverged, KalmanBLS, SLICES),
    "EpsilonGreedy, KalmanBLS": _way(EpsilonGreedy, KalmanBLS),
    "UCB, KalmanBLS": _way(UCB, KalmanBLS),
    "OrderDP, KalmanBLS": _way(OrderDP, KalmanBLS),
    "RePB, KalmanBLS": _way(RePB, KalmanBLS),
    "SelectiveBackprop, KalmanBLS": _way(SelectiveBackprop, KalmanBLS),
    "TrimmedLoss, true losses": _way(TrimmedLoss, None, 0),
    "TrimmedLoss, BLS": _way(TrimmedLoss, BLS),
    "TrimmedLoss, KalmanBLS": _way(TrimmedLoss, KalmanBLS),
    "TrimmedLoss, KalmanBLS, slices": _way(TrimmedLoss, KalmanBLS, SLICES),
    "TrimmedLoss auto, KalmanBLS, slices": _way(TrimmedLoss, KalmanBLS, SLICES, trim="auto"),
}
"""In the order in which they run and are shown."""

SHOWN = (0.2, 0.4)
AT_ANY = {FULL: (0.0,), FEWER: SHOWN, RANDOM: SHOWN}
FULL_ENDS = {
    f"InfoBatch, full ends, {score}": SHOWN
    for score in ("true losses", "BLS", "KalmanBLS, sorted slices")
}
WORTH = {
    **AT_ANY,
    "InfoBatch, true losses": SHOWN,
    "InfoBatch, BLS": SHOWN,
    "InfoBatch, KalmanBLS": SHOWN,
    "InfoBatch, KalmanBLS, slices": SHOWN,
    **FULL_ENDS,
    "SeTa, BLS": (0.0,),
    "SkipConverged, KalmanBLS, slices": (0.0,),
    "EpsilonGreedy, KalmanBLS": (0.2,),
    "UCB, KalmanBLS": (0.2,),
    "OrderDP, KalmanBLS": (0.2,),
    "RePB, KalmanBLS": (0.0,),
    "SelectiveBackprop, KalmanBLS": (0.2,),
}
WHY = AT_ANY | {name: SHOWN for name in METHODS if name.startswith("InfoBatch")}
LONG = AT_ANY | {
    **dict.fromkeys(FULL_ENDS, (0.2,)),
    "SeTa, BLS": (0.0,),
    "SkipConverged, KalmanBLS, slices": (0.0,),
}
CONVERGED = {
    **dict.fromkeys((FEWER, RANDOM), (0.2, 0.5)),
    FULL: (0.0,),
    "InfoBatch, full ends, true losses": (0.5,),
    "InfoBatch, full ends, BLS": (0.5,),
    "SkipConverged, true losses": (0.0,),
    "SkipConverged, BLS": (0.0,),
    "SkipConverged, KalmanBLS": (0.0,),
    "SkipConverged, KalmanBLS, slices": (0.0,),
}
TRIMMED = {
    FULL: (0.0,),
    FEWER: (0.2,),
    RANDOM: (0.2,),
    "TrimmedLoss, true losses": (0.2,),
    "TrimmedLoss, KalmanBLS": (0.2,),
    "TrimmedLoss, KalmanBLS, slices": (0.2,),
    "TrimmedLoss auto, KalmanBLS, slices": (0.0,),
}
SMALL_BATCHES = {name: TRIMMED[name] for name in (FULL, FEWER, RANDOM, "TrimmedLoss, KalmanBLS")}
SIZES = {"wrong images": (3000, 16), "wrong text": (6920, 16), "wrong audio": (1000, 24)}
"""Of the settings with wrong labels: samples and epochs."""

SETTINGS = {
    "short": Setting("images", 4000, 12, 64, WORTH),
    "long": Setting("images", 2000, 40, 64, LONG),
    "why": Setting("images", 4000, 12, 64, WHY),
    "redundant": Setting("images", 2000, 40, 64, CONVERGED, copies=0.75),
    "wrong-pooled-40-64": Setting("images", 3000, 16, 64, TRIMMED, wrong=0.4),
} | {
    f"wrong-{task.split()[-1]}-{round(100 * wrong)}-{size}": Setting(
        task, *SIZES[task], size, TRIMMED if size == 64 else SMALL_BATCHES, wrong=wrong
    )
    for task in SIZES
    for wrong in (0.0, 0.2, 0.4)
    for size in (64, 32, 16, 8)
}


def prepare(setting: Setting, root: Path, seed: int) -> tuple[Task, torch.Tensor]:
    """Return the samples of a seed, and which of them have wrong labels: (N,)."""
    task = load(setting.task, root)
    task = task.first(setting.samples, seed, test_on_rest=setting.task == "wrong audio")
    if setting.copies:
        kept = round((1 - setting.copies) * setting.samples)
        originals = torch.arange(setting.samples - kept) % (setting.samples // 16) + kept
        chosen = torch.cat([torch.arange(kept), originals])
        task = replace(task, inputs=task.inputs[chosen], labels=task.labels[chosen])
    return task.mislabelled(setting.wrong, seed)


def run(setting: Setting, root: Path, name: str, budget: float, seed: int) -> dict[str, Any]:
    """Train once and test."""
    task, wrong = prepare(setting, root, seed)
    way, count = METHODS[name], len(task.labels)
    torch.manual_seed(seed)
    model = task.make_model()
    highest = task.learning_rate * math.sqrt(setting.batch_size / 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=highest, weight_decay=task.weight_decay)
    is_shorter = name == FEWER
    train = way.make(task.train, setting.epochs, seed, 0.0 if is_shorter else budget)
    loader = DataLoader(train, batch_size=setting.batch_size)
    most = round((1 - budget) * count * setting.epochs)
    mean = nn.CrossEntropyLoss(reduction="mean" if way.slices else "none")
    criterion = chunked(mean, chunks=way.slices) if way.slices > 1 else mean
    visits = 0
    for _ in range(setting.epochs):
        model.train()
        for inputs, labels in loader:
            if is_shorter and visits >= most:
                break
            progress = visits / most if is_shorter else train.progress / setting.epochs
            visits += len(labels)
            optimizer.param_groups[0]["lr"] = highest * one_cycle(min(1.0, progress))
            optimizer.zero_grad()
            train.update(criterion(model(inputs), labels)).backward()
            optimizer.step()
    found = {"accuracy": accuracy(model, task), "saved": 1 - visits / (count * setting.epochs)}
    if setting.wrong:
        highest_scores = train.scores.topk(round(0.2 * count)).indices
        found["wrong among highest"] = float(wrong[highest_scores].float().mean())
    return found


@torch.no_grad()
def accuracy(model: nn.Module, task: Task) -> float:
    model.eval()
    parts = zip(task.test_inputs.split(1000), task.test_labels.split(1000), strict=True)
    return float(torch.cat([model(x).argmax(1) == y for x, y in parts]).float().mean())


@dataclass(frozen=True)
class Row:
    name: str
    budget: float
    seeds: int
    accuracy: Mean
    saved: Mean
    against: dict[str, Mean]
    wrong: Mean | None


def summarise(results: list[dict[str, Any]]) -> list[Row]:
    """Return a row a method and budget, with differences to the baselines, seed by seed.

    A baseline at another number of visits is interpolated between its budgets, and full training.
    """
    runs: dict[tuple[str, float], dict[int, dict[str, Any]]] = {}
    for each in results:
        runs.setdefault((each["method"], each["budget"]), {})[each["seed"]] = each
    rows = []
    for name in METHODS:
        for (method, budget), by_seed in sorted(runs.items(), key=lambda item: item[0][1]):
            if method != name:
                continue
            against = {}
            for baseline in (FULL, FEWER, RANDOM):
                differences = []
                for seed, each in by_seed.items():
                    points = [(0.0, runs.get((FULL, 0.0), {}).get(seed))] if baseline else []
                    if baseline != FULL:
                        points += [(b, s.get(seed)) for (m, b), s in runs.items() if m == baseline]
                    there = sorted((b, p["accuracy"]) for b, p in points if p is not None)
                    if there and (baseline == FULL or len(there) > 1):
                        at = np.interp(each["saved"], *zip(*there, strict=True))
                        differences.append(each["accuracy"] - float(at))
                if differences:
                    against[baseline] = mean_of(differences)
            share = [each.get("wrong among highest") for each in by_seed.values()]
            rows.append(
                Row(
                    name,
                    budget,
                    len(by_seed),
                    mean_of([each["accuracy"] for each in by_seed.values()]),
                    mean_of([each["saved"] for each in by_seed.values()]),
                    against,
                    None if None in share else mean_of([float(s) for s in share if s is not None]),
                )
            )
    return rows


def as_table(rows: list[Row]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = [
        "| method | saved % | accuracy % | − full | − fewer epochs | − RandomPrune | seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        cells = [
            row.against[b].percent(sign=True)
            if b in row.against and row.name not in (b, FULL)
            else ""
            for b in (FULL, FEWER, RANDOM)
        ]
        found = "" if row.wrong is None else f" ({100 * row.wrong.value:.0f}% of the highest wrong)"
        lines.append(
            f"| {row.name}{found} | {100 * row.saved.value:.1f} | {row.accuracy.percent()} | "
            f"{' | '.join(cells)} | {row.seeds} |"
        )

    return lines


def fill(page: Path, folder: Path) -> None:
    """Bring tables of a page up to date: from `<!-- SETTING -->` to `<!-- end -->`."""
    parts = re.split(r"(<!-- [\w-]+ -->\n)", page.read_text())
    for place, part in enumerate(parts):
        name = part.strip().removeprefix("<!-- ").removesuffix(" -->")
        if name in SETTINGS:
            rows = summarise(Runs(folder / f"quality-{name}.jsonl").results)
            parts[place + 1] = "\n".join(as_table(rows)) + "\n"
    page.write_text("".join(parts))


def plot(path: Path, title: str, rows: list[Row]) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    names = [name for name in METHODS if any(row.name == name for row in rows)]
    for number, name in enumerate(names):
        mine = [row for row in rows if row.name == name]
        is_baseline = name in (FULL, FEWER, RANDOM)
        shift = 0.0 if name == FULL else 0.6 * (number - len(names) / 2)  # else they overlap
        axes.errorbar(
            [100 * row.saved.value + shift for row in mine],
            [100 * row.accuracy.value for row in mine],
            yerr=[np.nan_to_num(100 * row.accuracy.half_width) for row in mine],
            marker="s" if is_baseline else "osD^vP*X"[number % 8],
            linestyle="--" if is_baseline else "-" if len(mine) > 1 else "none",
            color="black" if name == FULL else f"C{number % 10}",
            linewidth=1,
            capsize=3,
            label=name,
        )
    axes.set_xlabel("sample visits saved, % (equal numbers are drawn side by side)")
    axes.set_ylabel("test accuracy, % (95% interval over seeds)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("setting", choices=SETTINGS, nargs="?")
    parser.add_argument("--root", type=Path, help="folder of the data sets; see tasks.py")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="print what there is, train nothing")
    parser.add_argument("--plot", type=Path, help="draw what there is, train nothing")
    parser.add_argument("--fill", type=Path, help="a page whose tables are brought up to date")
    given = parser.parse_args()
    if given.fill is not None:
        fill(given.fill, given.out)
        return
    if given.setting is None:
        parser.error("name a setting, or a page to --fill")
    setting = SETTINGS[given.setting]
    runs = Runs(given.out / f"quality-{given.setting}.jsonl")
    if not given.table and given.plot is None:
        torch.set_num_threads(1)
        for seed in range(given.seeds):
            for name in METHODS:
                for budget in setting.methods.get(name, ()):
                    key = {"method": name, "budget": budget, "seed": seed}
                    runs.do(key, run, setting, given.root, name, budget, seed)
    rows = summarise(runs.results)
    print("\n".join(as_table(rows)))
    if given.plot is not None:
        plot(given.plot, given.setting, rows)


if __name__ == "__main__":
    main()
