"""Made-up results of a task, for the tables of the evidence."""

from __future__ import annotations

from dynaprune.bench.comparison import compare
from dynaprune.bench.sections import Section

MARGIN = 0.5
RECIPE = {"epochs": 3}


def section(name, runs, seeds=range(5)):
    """Return results, where `runs` has the difference to full training of variants and budgets."""
    lines = [
        {"variant": variant, "budget": budget, "seed": seed, "full_visits": 100, "seconds": 1.0}
        # full training differs between seeds, the difference to it hardly
        | {"visits": 100 * (1 - (budget or saved)), "quality": 7.0 + seed + difference}
        for (variant, budget), (difference, saved) in {("full", 0.0): (0.0, 0.0), **runs}.items()
        for seed in seeds
    ]
    task = {"name": name, "margin": MARGIN, "higher_is_better": True, "in_percent": False}
    task["kind"] = "image classification"
    rows = compare(lines, MARGIN, higher_is_better=True)
    return Section(task, "as-is", RECIPE, rows, lines, name)
