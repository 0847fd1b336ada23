"""A variant that chooses its own budget for each task, compared with the same budget for all tasks.

Over all tasks both save about the same share of visits. The comparison shows whether it helps to
save more on tasks that waste more.
"""

from __future__ import annotations

from collections.abc import Sequence

from dynaprune.bench.sections import Section
from dynaprune.bench.statistics import mean_of

UNASKED = "skip-converged"

SHARE = 0.2
"""The budget of the others on each task: about the mean share that `UNASKED` saves."""

OTHERS = (
    "fewer-epochs",
    "random",
    "infobatch",
    "seta",
    "bls-infobatch",
    "kalman-infobatch",
    "slices-infobatch",
)


def unasked_table(sections: Sequence[Section]) -> str:
    """Return the savings and costs of variants, in margins, and the paired gain of `UNASKED`."""
    lines = [
        "| variant | tasks | saved % | − full training | gain of `skip-converged` |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    free = saved_and_cost(sections, UNASKED, 0.0)
    for variant in (UNASKED, *OTHERS):
        found = saved_and_cost(sections, variant, SHARE if variant in OTHERS else 0.0)
        tasks = [title for title in found if title in free]
        if not tasks:
            continue
        saved = mean_of([found[title][0] for title in tasks]).value
        cost = mean_of([found[title][1] for title in tasks])
        gain = mean_of([free[title][1] - found[title][1] for title in tasks])
        cells = [variant, f"{len(tasks)}", f"{100 * saved:.1f}", cost.text(digits=1, sign=True)]
        cells.append("" if variant == UNASKED else gain.text(digits=1, sign=True))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def saved_and_cost(
    sections: Sequence[Section], variant: str, budget: float
) -> dict[str, tuple[float, float]]:
    """Return, for each task, the share of visits saved and the difference to full training.

    The former in [0, 1], the latter in margins; positive is better.
    """
    return {
        section.title: (row.visits_saved.value, row.against_full.value / section.task["margin"])
        for section in sections
        for row in section.rows
        if (row.variant, row.budget) == (variant, budget) and row.against_full is not None
    }
