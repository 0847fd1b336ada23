"""Results of each variant over all tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .comparison import Row
from .statistics import MIN_SEEDS, Mean, Verdict, mean_of
from .ways import BASELINES, FULL, WAYS


@dataclass(frozen=True)
class Against:
    """A variant compared with a baseline, over tasks.

    Attributes:
        better: the number of tasks in which, with enough seeds, the whole 95% interval of the
            difference is above zero.
        worse: the number of tasks in which it is below zero, or in which the variant diverged.
        tasks: the number of tasks.
        margins: the mean difference over tasks, in units of their margins, with its interval over
            tasks.
    """

    better: int
    worse: int
    tasks: int
    margins: Mean


@dataclass(frozen=True)
class Score:
    """The results of a variant at a budget, over tasks.

    Attributes:
        way: the name of the variant.
        budget: the share of visits that it was asked to save.
        is_tested: whether any task has enough seeds for a verdict.
        verdicts: the number of tasks with each verdict.
        against_full: the mean difference to full training over tasks, in units of their margins;
            `None` if all diverged.
        against: the comparison with each baseline at the same number of visits.
    """

    way: str
    budget: float
    is_tested: bool
    verdicts: dict[Verdict, int]
    against_full: Mean | None
    against: dict[str, Against]


def score_ways(tasks: Iterable[tuple[float, Sequence[Row]]]) -> list[Score]:
    """Return one score per variant and budget, in the order of `WAYS`.

    Arguments:
        tasks: the margin and the rows of each task.
    """
    found: dict[tuple[str, float], list[tuple[float, Row]]] = {}
    for margin, rows in tasks:
        for row in rows:
            if row.way != FULL and row.verdict is not None:
                found.setdefault((row.way, row.budget), []).append((margin, row))
    order = list(WAYS)
    scores = []
    for way, budget in sorted(found, key=lambda pair: (order.index(pair[0]), pair[1])):
        mine = found[way, budget]
        known = [row.against_full.value / m for m, row in mine if row.against_full is not None]
        against = {
            baseline: compared
            for baseline in BASELINES
            if (compared := _against(baseline, mine)) is not None
        }
        verdicts = {v: sum(row.verdict is v for _, row in mine) for v in Verdict}
        is_tested = any(row.compared >= MIN_SEEDS for _, row in mine)
        mean = mean_of(known) if known else None
        scores.append(Score(way, budget, is_tested, verdicts, mean, against))
    return scores


def _against(baseline: str, mine: Sequence[tuple[float, Row]]) -> Against | None:
    known = [(margin, row) for margin, row in mine if baseline in row.against]
    if not known:
        return None
    return Against(
        sum(row.is_better(baseline) for _, row in known),
        sum(row.is_worse(baseline) for _, row in known),
        len(known),
        mean_of([row.against[baseline].value / margin for margin, row in known]),
    )
