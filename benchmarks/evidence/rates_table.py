"""Larger learning rates compared with the weights of InfoBatch, at 50% saved.

At 50% InfoBatch draws from all samples regardless of their scores, and gives each the weight 2. So
its gain on RandomPrune comes from larger steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dynaprune.bench.comparison import Line
from dynaprune.bench.sections import Section
from dynaprune.bench.statistics import mean_of
from dynaprune.bench.tables import scale_of
from dynaprune.bench.ways import FULL, RANDOM

TASKS = ("mnist5k-ddpm", "mnist5k-vae", "mnist5k-fixmatch", "shakespeare-gpt2")
"""The tasks on which InfoBatch at 50% was better than both baselines."""

RATES = (1.5, 2.0)
"""Factors on the learning rate of a task's recipe."""

SAVED = 0.5

WEIGHTED = "bls-infobatch"


def rates_table(sections: Sequence[Section], others: Sequence[Line]) -> str:
    """Return the differences to full training at the recipe's own rate, for several rates.

    Arguments:
        sections: the results of unchanged tasks with their own recipes.
        others: the results at other rates.
    """
    columns = [
        (WEIGHTED, 1.0),
        (RANDOM, 1.0),
        *((way, rate) for way in (RANDOM, FULL) for rate in RATES),
    ]
    heads = ["infobatch", *(_head(way, rate) for way, rate in columns[1:])]
    lines = [f"| task | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for section in sections:
        if section.task["name"] not in TASKS:
            continue
        usual = section.recipe["learning_rate"]
        found: dict[tuple[str, float], dict[int, float]] = {}
        for line in (*section.lines, *(o for o in others if o["task"] == section.task["name"])):
            if line["budget"] in (0.0, SAVED):
                pair = line["way"], round(line["recipe"]["learning_rate"] / usual, 6)
                found.setdefault(pair, {})[line["seed"]] = line["quality"]
        full = found[FULL, 1.0]
        cells = [_difference(section, found.get(pair, {}), full) for pair in columns]
        lines.append(f"| {section.title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _head(way: str, rate: float) -> str:
    return way if rate == 1 else f"{way}, {rate:g} × the rate"


def _difference(section: Section, quality: Mapping[int, float], full: Mapping[int, float]) -> str:
    sign = 1 if section.task["higher_is_better"] else -1
    both = [sign * (quality[seed] - full[seed]) for seed in quality if seed in full]
    if not all(map(math.isfinite, both)):
        return "diverged"
    return mean_of(both).text(*scale_of(section), sign=True) if both else ""
