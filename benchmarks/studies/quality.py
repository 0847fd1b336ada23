"""Test accuracy after the same number of sample visits, by method and score.

    python benchmarks/studies/quality.py short --root DATA    # trains; continues where it stopped
    python benchmarks/studies/quality.py short --table        # prints the results so far
    python benchmarks/studies/quality.py short --plot quality-short.png
    python benchmarks/studies/quality.py --fill docs/quality.md docs/wrong-labels.md

quality_settings.py defines the settings and methods. The baselines at each budget are RandomPrune,
and training for fewer epochs with a scaled schedule. All methods of a seed see the same samples and
start with the same weights; differences are paired by seed.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept_runs import RESULTS, Runs, fill_page
from quality_settings import FEWER, FULL, METHODS, RANDOM, SETTINGS, Setting
from tasks import Task, load
from torch import nn

from dynaprune import DataLoader, chunked
from dynaprune.bench.recipe import one_cycle
from dynaprune.bench.removal import budget_of
from dynaprune.bench.statistics import Mean, mean_of
from dynaprune.methods.trimmed_loss import DECIDED


def prepare(setting: Setting, root: Path, seed: int) -> tuple[Task, torch.Tensor]:
    """Return the task with the samples of a seed, and a mask of wrong labels: shape (N,)."""
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
    variant, count = METHODS[name], len(task.labels)
    torch.manual_seed(seed)
    model = task.make_model()
    highest = task.learning_rate * math.sqrt(setting.batch_size / 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=highest, weight_decay=task.weight_decay)
    is_shorter = name == FEWER
    train = variant.make(task.train, setting.epochs, seed, 0.0 if is_shorter else budget)
    loader = DataLoader(train, batch_size=setting.batch_size)
    most = round((1 - budget) * count * setting.epochs)
    mean = nn.CrossEntropyLoss(reduction="mean" if variant.slices else "none")
    criterion = chunked(mean, chunks=variant.slices) if variant.slices > 1 else mean
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
    """Return one row per method and budget, with differences to the baselines, paired by seed.

    For other numbers of visits, a baseline is interpolated between its budgets and full training.
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


def tables(folder: Path) -> dict[str, str]:
    """Return the table of each setting that has results."""
    paths = {name: folder / f"quality-{name}.jsonl" for name in SETTINGS}
    return {
        name: "\n".join(as_table(summarise(Runs(path).results))) + "\n"
        for name, path in paths.items()
        if path.exists()
    }


def auto_table(folder: Path) -> str:
    """Return what `trim="auto"` trims, and what it gains, in each setting that has results."""
    columns = "reading", "data", "wrong %", "trimmed %", "accuracy, − full"
    lines = [
        f"| {' | '.join(columns)} | with a share given, − full | seeds |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for reading in ("true losses", "KalmanBLS, slices"):
        for name, setting in SETTINGS.items():
            path = folder / f"quality-{name}.jsonl"
            rows = {row.name: row for row in summarise(Runs(path).results)}
            auto = rows.get(f"TrimmedLoss auto, {reading}")
            if auto is None:
                continue
            given = rows[f"TrimmedLoss, {reading}"]
            trimmed = auto.saved.value / budget_of(1.0, setting.epochs, DECIDED)
            cells = [f"{100 * setting.wrong:.0f}", f"{100 * trimmed:.0f}"]
            cells += [row.against[FULL].percent(sign=True) for row in (auto, given)]
            data = name.removeprefix("wrong-").partition("-")[0]
            lines.append(f"| {reading} | {data} | {' | '.join(cells)} | {auto.seeds} |")
    return "\n".join(lines) + "\n"


def plot(path: Path, title: str, rows: list[Row]) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    names = [name for name in METHODS if any(row.name == name for row in rows)]
    for number, name in enumerate(names):
        mine = [row for row in rows if row.name == name]
        is_baseline = name in (FULL, FEWER, RANDOM)
        shift = 0.0 if name == FULL else 0.6 * (number - len(names) / 2)  # avoids overlap
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
    axes.set_xlabel("sample visits saved, % (equal values are drawn side by side)")
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
    parser.add_argument("--table", action="store_true", help="print results without training")
    parser.add_argument("--plot", type=Path, help="plot results without training")
    parser.add_argument("--fill", type=Path, nargs="+", help="pages whose tables are to be updated")
    given = parser.parse_args()
    if given.fill is not None:
        for page in given.fill:
            fill_page(page, {**tables(given.out), "auto": auto_table(given.out)})
        return
    if given.setting is None:
        parser.error("give a setting, or a page to --fill")
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
