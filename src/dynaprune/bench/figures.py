"""Plots of results: quality over sample visits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.optional_imports import require
from .comparison import Row
from .variants import BASELINES, FULL

MARKERS = "osD^vP*X<>"
MARGIN = "margin: a smaller loss\nof quality counts as none"
"""What the legend says about the grey band below full training."""
APART = 0.35
"""The horizontal distance between variants with the same number of visits, in % of visits."""


def draw_quality(path: Path, title: str, task: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Plot the metric over sample visits, with 95% intervals over seeds, as a PNG.

    Arguments:
        path: the path of the picture.
        title: its title.
        task: the task's attributes, as `Task.describe` returns them.
        rows: the results of the task.
    """
    scale = 100 if task["in_percent"] else 1

    figure = require("matplotlib.figure", "bench").Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    variants = list(dict.fromkeys(row.variant for row in rows))
    full = next((row for row in rows if row.variant == FULL), None)
    if full is not None:
        level = scale * full.quality.value
        lost = scale * task["margin"] * (-1 if task["higher_is_better"] else 1)
        axes.axhline(level, color="black", linewidth=0.8, linestyle=":")
        axes.axhspan(level, level + lost, color="black", alpha=0.08, linewidth=0, label=MARGIN)
    for number, variant in enumerate(variants):
        mine = sorted(
            (row for row in rows if row.variant == variant), key=lambda r: r.visits_saved.value
        )
        shift = 0.0 if variant == FULL else APART * (number - len(variants) / 2)
        visits = [100 * (1 - row.visits_saved.value) + shift for row in mine]
        axes.errorbar(
            visits,
            [scale * row.quality.value for row in mine],
            yerr=[np.nan_to_num(scale * row.quality.half_width) for row in mine],
            marker="s" if variant == FULL else MARKERS[(number + number // 10) % len(MARKERS)],
            markersize=6,
            capsize=3,
            linewidth=1,
            linestyle="--" if variant in BASELINES else "-" if len(mine) > 1 else "none",
            color="black" if variant == FULL else f"C{(number - 1) % 10}",
            label=variant,
        )
    axes.set_xlabel("sample visits, % of full training (variants of one budget side by side)")
    axes.set_ylabel(f"{task['metric']}{', %' if scale == 100 else ''} (95% interval over seeds)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=110)
