"""The tables of docs/evidence.md from runs on a GPU; see benchmarks/gpu/."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynaprune.bench.comparison import compare
from dynaprune.bench.sections import Section
from dynaprune.bench.statistics import mean_of
from dynaprune.bench.tables import details
from dynaprune.bench.variants import FULL

sys.path.append(str(Path(__file__).parents[1]))  # where pages.py is
from pages import NOTHING

FOLDER = Path(__file__).parents[1] / "results" / "gpu"

MARGIN = 0.002
"""The tolerated loss of accuracy, which five seeds on all of CIFAR-10 can detect."""

Records = Sequence[dict[str, Any]]


def gpu_parts() -> dict[str, str]:
    """Return the generated parts of the page by name."""
    return {f"gpu-{stage}": text_of(records_of(stage), table) for stage, table in TABLES.items()}


def records_of(stage: str) -> list[dict[str, Any]]:
    """Return the results of a stage."""
    file = FOLDER / f"{stage}.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]


def text_of(records: Records, table: Callable[[Records], str]) -> str:
    """Return a table of results with the names of the cards, or a note that there are none."""
    if not records:
        return NOTHING
    cards = sorted({f"{each['card']}, torch {each['torch']}" for each in records})
    return f"{table(records)}\n{len(records):,} results. {'; '.join(cards)}.\n"


def checks_table(records: Records) -> str:
    """Return the results of the last run of the tests on each card, if one ended in time."""
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for each in records:
        place = each["card"], each["group"]
        if place not in last or each["status"] != -1:
            last[place] = each
    lines = ["| card | tests | passed | failed | skipped |", "| --- | --- | ---: | ---: | ---: |"]
    for (card, group), each in last.items():
        numbers = each["passed"], each["failed"] + each["error"], each["skipped"]
        cells = ["out of time", "", ""] if each["status"] == -1 else map(str, numbers)
        lines.append(f"| {card} | {group} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cost_table(records: Records) -> str:
    """Return a table for each part of the stage, with a column for each quantity."""
    tables = []
    for part in dict.fromkeys(each["part"] for each in records):
        rows = [each for each in records if each["part"] == part]
        names = list(dict.fromkeys(name for each in rows for name in each["numbers"]))
        lines = [f"| {PARTS[part]} | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
        for each in rows:
            cells = [_short(each["numbers"].get(name)) for name in names]
            lines.append(f"| {each['what']} | {' | '.join(cells)} |")
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


PARTS = {
    "update": "the calls of a step alone",
    "loop": "a whole training step",
    "calls": "operations of 100 steps on the device",
    "criterion": "losses of slices, forward and backward",
    "epoch": "once per epoch",
}


def _short(value: float | None) -> str:
    """Return a number with three significant digits, or all digits of its integer part."""
    if value is None:
        return ""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, digits)}f}"


def rates_table(records: Records) -> str:
    """Return the accuracy of full training at each learning rate."""
    lines = ["| highest learning rate | epochs | accuracy % |", "| ---: | ---: | ---: |"]
    lines += [
        f"| {each['rate']:g} | {each['epochs']} | {100 * each['accuracy']:.2f} |"
        for each in sorted(records, key=lambda each: (each["epochs"], each["rate"]))
    ]
    return "\n".join(lines) + "\n"


def cifar10_table(records: Records) -> str:
    """Return a table per number of epochs, with all variants and their differences to others."""
    parts = []
    for epochs in sorted({each["epochs"] for each in records}):
        runs = [each for each in records if each["epochs"] == epochs]
        parts.append(f"{epochs} epochs:\n\n{details(section_of(runs, str(epochs)), digits=2)}")
    return "\n".join(parts)


def section_of(runs: Records, title: str) -> Section:
    """Return the results of runs as a section of the bench."""
    full_visits = {each["seed"]: each["visits"] for each in runs if each["way"] == FULL}
    lines = [
        {
            "variant": each["way"],
            "budget": each["saved"],
            "seed": each["seed"],
            "quality": each["accuracy"],
            "visits": each["visits"],
            "full_visits": full_visits[each["seed"]],
            "seconds": each["seconds"],
            "machine": each["card"],
        }
        for each in runs
        if each["seed"] in full_visits
    ]
    task = {
        "metric": "accuracy",
        "margin": MARGIN,
        "higher_is_better": True,
        "in_percent": True,
    }
    return Section(task, "as-is", {}, compare(lines, MARGIN, True), lines, title)


def noisy_table(records: Records) -> str:
    """Return accuracies on right labels, and how well scores find the wrong ones."""
    lines = [
        "| labels | variant | seeds | visits saved % | accuracy % | − full training | AUROC | "
        "precision |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    full = {
        (each["labels"], each["epochs"], each["seed"]): each
        for each in records
        if each["way"] == FULL
    }
    for labels, way, epochs in dict.fromkeys(
        (each["labels"], each["way"], each["epochs"]) for each in records
    ):
        key = labels, way, epochs
        runs = [each for each in records if (each["labels"], each["way"], each["epochs"]) == key]
        pairs = [
            (run, full[labels, epochs, run["seed"]])
            for run in runs
            if (labels, epochs, run["seed"]) in full
        ]
        if not pairs:
            continue
        wrong = f"{labels} ({100 * runs[0]['wrong']:.0f}% wrong)"
        saved = 100 * np.mean([1 - run["visits"] / base["visits"] for run, base in pairs])
        gains = [run["accuracy"] - base["accuracy"] for run, base in pairs]
        cells = [
            wrong,
            way,
            str(len(pairs)),
            f"{saved:.1f}",
            mean_of([run["accuracy"] for run, _ in pairs]).text(100, 2),
            "" if way == FULL else mean_of(gains).text(100, 2, sign=True),
            *(_by_quarter([run[name] for run, _ in pairs]) for name in ("auroc", "precision")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _by_quarter(runs: list[list[float]]) -> str:
    return " / ".join(f"{each:.2f}" for each in np.mean(runs, axis=0)) if runs[0] else ""


def fits_table(records: Records) -> str:
    """Return decibels at the best rate, and what is gained over random points and fewer epochs."""
    lines = [
        "| target | variant | rate | seeds | dB | − fewer epochs | − random | seconds |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    compared = [each for each in records if not each["is_search"]]
    found = {(each["target"], each["way"], each["seed"]): each["decibels"] for each in compared}
    for target, way in dict.fromkeys((each["target"], each["way"]) for each in compared):
        runs = [each for each in compared if (each["target"], each["way"]) == (target, way)]
        cells = [
            target,
            way,
            f"{runs[0]['rate']:g}",
            str(len(runs)),
            mean_of([run["decibels"] for run in runs]).text(digits=2),
        ]
        for base in ("fewer epochs", "random"):
            gains = [
                run["decibels"] - found[target, base, run["seed"]]
                for run in runs
                if way not in (base, "full") and (target, base, run["seed"]) in found
            ]
            cells.append(mean_of(gains).text(digits=2, sign=True) if gains else "")
        cells.append(f"{np.mean([run['seconds'] for run in runs]):.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def paper_table(records: Records) -> str:
    """Return each run of the paper's recipe."""
    lines = [
        "| variant | seed | epochs | visits | accuracy % | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {each['way']} | {each['seed']} | {each['epochs']} | {each['visits']:,} | "
        f"{100 * each['accuracy']:.2f} | {each['seconds']:.0f} |"
        for each in records
    ]
    return "\n".join(lines) + "\n"


TABLES: dict[str, Callable[[Records], str]] = {
    "checks": checks_table,
    "cost": cost_table,
    "rates": rates_table,
    "cifar10": cifar10_table,
    "noisy": noisy_table,
    "fits": fits_table,
    "paper": paper_table,
}
