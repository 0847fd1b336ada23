"""Comparison of each variant with full training and with the baselines, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .statistics import MIN_SEEDS, Mean, Verdict, judge, mean_of
from .ways import BASELINES, FULL, WAYS

Line = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """The results of a variant at a budget, over seeds.

    Attributes:
        way: the name of the variant.
        budget: the share of visits that it was asked to save.
        seeds: the number of seeds.
        compared: the number of seeds with a run of full training to compare with.
        diverged: the number of seeds whose metric is NaN or infinite at the end.
        quality: the metric, over seeds that did not diverge.
        visits_saved: the share of full training's sample visits that was saved.
        seconds_saved: the share of full training's time that was saved, over seeds in which both
            ran on the same machine.
        against_full: the metric minus that of full training, with the sign such that positive is
            better. It and `against` are over seeds in which neither of the two diverged.
        against: the same for each baseline at the same number of visits.
        verdict: the result of the test against full training.
    """

    way: str
    budget: float
    seeds: int
    compared: int
    diverged: int
    quality: Mean
    visits_saved: Mean
    seconds_saved: Mean | None
    against_full: Mean | None
    against: dict[str, Mean]
    verdict: Verdict | None

    def is_better(self, baseline: str) -> bool:
        """Whether enough seeds show that it is better than a baseline, and none diverged."""
        mean = self.against.get(baseline)
        return self._counts and mean is not None and mean.is_above_zero

    def is_worse(self, baseline: str) -> bool:
        """Whether enough seeds show that it is worse than a baseline, or one of them diverged."""
        mean = self.against.get(baseline)
        if self.diverged and self.seeds >= MIN_SEEDS:
            return True
        return self._counts and mean is not None and mean.is_below_zero

    @property
    def _counts(self) -> bool:
        return self.seeds >= MIN_SEEDS and self.diverged == 0


def compare(lines: Iterable[Line], margin: float, higher_is_better: bool) -> list[Row]:
    """Return one row per variant and budget.

    Arguments:
        lines: the results of one task, regime and recipe.
        margin: the margin of the task.
        higher_is_better: whether a higher metric of the task is better.
    """
    runs: dict[tuple[str, float], dict[int, Line]] = {}
    for line in lines:
        runs.setdefault((line["way"], line["budget"]), {})[line["seed"]] = line
    sign = 1 if higher_is_better else -1
    full = runs.get((FULL, 0.0), {})
    order = {way: place for place, way in enumerate(WAYS)}  # unknown ones come last
    rows = []
    for way, budget in sorted(runs, key=lambda pair: (order.get(pair[0], len(order)), pair[1])):
        by_seed = runs[way, budget]
        found = list(by_seed.values())
        pairs = [
            (run, full[seed])
            for seed, run in by_seed.items()
            if way != FULL and seed in full and math.isfinite(full[seed]["quality"])
        ]
        differences = [sign * (run["quality"] - base["quality"]) for run, base in pairs]
        qualities = [run["quality"] for run in found if math.isfinite(run["quality"])]
        rows.append(
            Row(
                way,
                budget,
                len(found),
                len(pairs),
                len(found) - len(qualities),
                _mean(qualities) or Mean(math.nan, math.nan),
                mean_of([saved_by(run) for run in found]),
                _mean(
                    [
                        1 - run["seconds"] / base["seconds"]
                        for run, base in pairs
                        if run.get("machine") == base.get("machine")
                    ]
                ),
                _mean(differences),
                _against_baselines(runs, way, by_seed, sign),
                judge(differences, margin) if differences else None,
            )
        )
    return rows


def saved_by(line: Line) -> float:
    """Return the share of full training's sample visits that a run has saved."""
    return 1 - float(line["visits"]) / float(line["full_visits"])


def _mean(values: Sequence[float]) -> Mean | None:
    finite = [value for value in values if math.isfinite(value)]
    return mean_of(finite) if finite else None


def _against_baselines(
    runs: dict[tuple[str, float], dict[int, Line]],
    way: str,
    by_seed: dict[int, Line],
    sign: int,
) -> dict[str, Mean]:
    """Return the differences to each baseline at the same number of visits, paired by seed.

    If a baseline was not run at that number, its metric is interpolated between its budgets and
    full training. If the number is beyond its largest budget in any seed, there is no comparison:
    leaving out such seeds would select seeds by how much they save.
    """
    found = {}
    for baseline in BASELINES:
        if way in (FULL, baseline):
            continue
        differences: list[float] = []
        is_beyond = False
        for seed, run in by_seed.items():
            points = sorted(
                (saved_by(others[seed]), others[seed]["quality"])
                for (name, _), others in runs.items()
                if name in (baseline, FULL) and seed in others
            )
            saved = saved_by(run)
            # budgets are met up to one sample per epoch
            if len(points) < 2:
                continue
            is_beyond |= not points[0][0] - 1e-3 <= saved <= points[-1][0] + 1e-3
            if not is_beyond:
                savings, qualities = (list(column) for column in zip(*points, strict=True))
                there = float(np.interp(saved, savings, qualities))
                differences.append(sign * (run["quality"] - there))
        mean = None if is_beyond else _mean(differences)
        if mean is not None:
            found[baseline] = mean
    return found


def lossless_budget(rows: Iterable[Row], way: str) -> Row | None:
    """Return the row of a variant's largest saving up to which all savings are lossless."""
    best = None
    for row in sorted((r for r in rows if r.way == way), key=lambda r: r.visits_saved.value):
        if row.verdict is not Verdict.LOSSLESS:
            break
        best = row
    return best
