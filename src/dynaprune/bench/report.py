"""What the demo leaves behind: a summary, a table, a JSON file and a picture."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from rich.table import Table

from .demo import FULL, METHODS, Result
from .statistics import Mean, mean_of
from .training import Recipe

mpl.use("Agg")  # before pyplot: no screen is needed


@dataclass(frozen=True)
class Row:
    """A method over its seeds; differences and shares are against full training, seed by seed.

    Attributes:
        method: its name.
        accuracy: share of test images classified rightly.
        difference: of that accuracy to full training's.
        visits_saved: share of sample visits that were not made.
        seconds_saved: share of wall-clock seconds that were not spent.
    """

    method: str
    accuracy: Mean
    difference: Mean
    visits_saved: Mean
    seconds_saved: Mean


def summarise(results: Sequence[Result]) -> list[Row]:
    """Summarise complete seeds, one row a method."""
    runs = {(result.method, result.seed): result.run for result in results}
    seeds = sorted({result.seed for result in results})
    full = [runs[FULL, seed] for seed in seeds]
    rows = []
    for method in METHODS:
        pairs = [(runs[method, seed], base) for seed, base in zip(seeds, full, strict=True)]
        rows.append(
            Row(
                method,
                mean_of([run.accuracy for run, _ in pairs]),
                mean_of([run.accuracy - base.accuracy for run, base in pairs]),
                mean_of([1 - run.visits / base.visits for run, base in pairs]),
                mean_of([1 - run.seconds / base.seconds for run, base in pairs]),
            )
        )
    return rows


def as_table(rows: Sequence[Row], title: str) -> Table:
    """Return the rows as a table for the terminal, in percent with 95% intervals."""
    table = Table(title=title)
    table.add_column("method")
    for name in ("test accuracy", "against full", "visits saved", "wall-clock saved"):
        table.add_column(f"{name} %", justify="right")
    for row in rows:
        is_full = row.method == FULL
        table.add_row(
            row.method,
            row.accuracy.percent(),
            "" if is_full else row.difference.percent(sign=True),
            "" if is_full else f"{100 * row.visits_saved.value:.1f}",
            "" if is_full else row.seconds_saved.percent(),
        )
    return table


def write_results(
    path: Path, data: str, recipe: Recipe, results: Sequence[Result], rows: Sequence[Row]
) -> None:
    """Write every run and the summary, with recipe, versions and machine, as JSON."""
    content = {
        "data": data,
        "recipe": asdict(recipe),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("dynaprune", "torch", "numpy")},
        },
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "runs": [{"method": r.method, "seed": r.seed, **asdict(r.run)} for r in results],
        "summary": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(_without_nan(content), indent=2) + "\n")


def _without_nan(value: Any) -> Any:
    """Replace NaN, which JSON does not know, by null."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def draw_accuracy(path: Path, data: str, rows: Sequence[Row]) -> None:
    """Draw accuracy over sample visits, with intervals, as a PNG."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    markers = ("s", "o", "D", "^", "v", "P")
    for position, (row, marker) in enumerate(zip(rows, markers, strict=True)):
        # three methods make the same number of visits: moved apart by half a point each
        same = [r for r in rows[:position] if abs(_visits(r) - _visits(row)) < 0.25]
        axes.errorbar(
            _visits(row) + 0.5 * len(same),
            100 * row.accuracy.value,
            yerr=None if np.isnan(row.accuracy.half_width) else 100 * row.accuracy.half_width,
            marker=marker,
            markersize=8,
            capsize=4,
            linestyle="none",
            color=f"C{position}",
            label=row.method,
        )
    axes.axhline(100 * rows[0].accuracy.value, color="C0", linewidth=0.8, linestyle="--")
    axes.set_xlabel("sample visits, % of full training (equal numbers are drawn side by side)")
    axes.set_ylabel("test accuracy, % (95% interval over seeds)")
    axes.set_title(f"Accuracy against sample visits: {data}")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _visits(row: Row) -> float:
    return 100 * (1 - row.visits_saved.value)
