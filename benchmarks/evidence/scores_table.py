"""Comparison of scores with the same method and budget, paired by seed and task."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dynaprune.bench.sections import Section
from dynaprune.bench.statistics import MIN_SEEDS, mean_of

PAIRS = (
    ("bls-infobatch", "infobatch"),
    ("bls-seta", "seta"),
    ("kalman-infobatch", "bls-infobatch"),
    ("slices-infobatch", "bls-infobatch"),
    ("slices-infobatch", "infobatch"),
    ("bls-infobatch", "drawn-infobatch"),
    ("infobatch", "drawn-infobatch"),
    ("equal-infobatch", "infobatch"),
    ("equal-infobatch", "random"),
    ("slices-equal-infobatch", "slices-infobatch"),
    ("slices-equal-infobatch", "random"),
)
"""Pairs of variants: the second one is the reference."""

BUDGETS = (0.2, 0.3, 0.4, 0.5)


def scores_table(sections: Sequence[Section]) -> str:
    """Return the gain of each variant on its reference, in margins, and the tasks that show it."""
    lines = [
        "| variant | compared with | saved % | tasks | difference | better on | worse on |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for pair in PAIRS:
        for budget in BUDGETS:
            found = {s.title: d for s in sections if (d := differences(s, *pair, budget))}
            if found:
                lines.append(f"| {' | '.join([*pair, *_cells(budget, found)])} |")
    return "\n".join(lines) + "\n"


def differences(section: Section, variant: str, other: str, budget: float) -> list[float]:
    """Return how much better a variant is than another one, in margins: one number per seed."""
    sign = 1 if section.task["higher_is_better"] else -1
    first, second = (
        {
            line["seed"]: line["quality"]
            for line in section.lines
            if line["variant"] == name and line["budget"] == budget
        }
        for name in (variant, other)
    )
    found = [sign * (first[seed] - second[seed]) for seed in first if seed in second]
    return [value / section.task["margin"] for value in found if math.isfinite(value)]


def _cells(budget: float, found: dict[str, list[float]]) -> list[str]:
    """Return the cells of a row from the differences of each task."""
    tested = {title: mean_of(d) for title, d in found.items() if len(d) >= MIN_SEEDS}
    better = [title for title, mean in tested.items() if mean.is_above_zero]
    worse = [title for title, mean in tested.items() if mean.is_below_zero]
    overall = mean_of([mean_of(values).value for values in found.values()])
    shown = [", ".join(titles) or "none" if tested else "–" for titles in (better, worse)]
    return [f"{100 * budget:.0f}", str(len(found)), overall.text(1, 1, sign=True), *shown]
