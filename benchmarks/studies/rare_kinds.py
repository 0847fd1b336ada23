"""Rare kinds without labels: what choosing by loss gains over random and over fewer epochs.

    python benchmarks/studies/rare_kinds.py --root DATA [--tasks …]   # goes on where it stopped
    python benchmarks/studies/rare_kinds.py --root DATA --length full   # longer trainings
    python benchmarks/studies/rare_kinds.py --tables                  # prints the results so far
    python benchmarks/studies/rare_kinds.py --fill docs/rare-kinds.md docs/evidence/rare-kinds.md

The regime `hidden-rare` of the bench, brief or at full length. Tasks whose full length is unknown
train three times their brief length. Each variant has the best of three learning rates for each
task: the recipe's, a third and three times that, found on two other seeds with 40% of the visits
saved. Differences are between runs of the same seed: the same samples, and the same network at the
start.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from kept_runs import RESULTS, fill_page, markdown_table

from dynaprune.bench.recipe import Recipe
from dynaprune.bench.registry import find_tasks
from dynaprune.bench.results import Results
from dynaprune.bench.runner import plan_runs, run_all
from dynaprune.bench.statistics import Verdict, judge, mean_of
from dynaprune.bench.variants import BASELINES, FULL, RANDOM, VARIANTS

FOLDERS = {"brief": RESULTS / "rare-kinds", "full": RESULTS / "rare-kinds-full"}
LONGER = 3
REGIME = "hidden-rare"
TASKS = (
    "digits-cnn",
    "mnist5k-cnn",
    "spoken-digits-cnn",
    "trec-words",
    "segments-mlp",
    "cifar10-unpooled",
)
COMPARED = (
    FULL,
    *BASELINES,
    "infobatch",
    "equal-infobatch",
    "slices-infobatch",
    "slices-equal-infobatch",
    "bls-infobatch",
    "loss-proportional",
    "slices-loss-proportional",
    "epsilon-greedy",
    "selective-backprop",
    "order-dp",
    "skip-converged",
    "twice",
    "focal",
)
BY_SHARE = (
    BASELINES[0],
    "infobatch",
    "equal-infobatch",
    "slices-equal-infobatch",
    "loss-proportional",
    "slices-loss-proportional",
    "selective-backprop",
)
"""Variants whose gain on random pruning is shown for every share of saved visits."""
FACTORS = (1 / 3, 1.0, 3.0)
SAVED, OTHER_SHARES = 0.4, (0.2, 0.6)
SEEDS, FEW_SEEDS, SEARCH_SEEDS = range(20), range(5), (100, 101)
DEAR = ("cifar10-unpooled",)
"""Tasks that get few seeds, because their runs take long."""
WORST = "worst kinds"


def recipe_of(task: Any, length: str) -> Recipe:
    """Return the recipe of a task, brief or of full length."""
    brief: Recipe = task.recipe
    if length == "brief":
        return brief
    return task.full_recipe or replace(brief, epochs=LONGER * brief.epochs)


def train(
    root: Path,
    name: str,
    variants: Sequence[str],
    shares: Sequence[float],
    results: Results,
    length: str = "brief",
) -> None:
    """Make the missing runs of a task: the search for rates, and then what is compared."""
    task = find_tasks()[name]()
    task.load(root)
    recipe = recipe_of(task, length)
    for factor in FACTORS:
        rate = factor * recipe.learning_rate
        _run(task, variants, [SAVED], SEARCH_SEEDS, replace(recipe, learning_rate=rate), results)
    seeds = FEW_SEEDS if name in DEAR else SEEDS
    for saved in shares:
        for variant in variants:
            rate = best_rate(results.lines, name, variant)
            best = replace(recipe, learning_rate=rate)
            _run(task, [variant], [saved], seeds, best, results)


def _run(
    task: Any,
    variants: Sequence[str],
    saved: Sequence[float],
    seeds: Sequence[int],
    recipe: Recipe,
    results: Results,
) -> None:
    plan = plan_runs(task, REGIME, variants, saved, seeds, recipe)
    wanted = [planned for planned in plan.runs if planned.key.variant in variants]
    for planned, line in run_all(task, wanted, results):
        key = planned.key
        print(
            f"{key.task}  {key.variant} {key.budget:.0%}  seed {key.seed}  rate "
            f"{recipe.learning_rate:.3g}: {line['quality']:.4f} in {line['seconds']:.0f} s",
            flush=True,
        )


def best_rate(lines: Sequence[dict[str, Any]], task: str, variant: str) -> float:
    """Return the rate with the best mean metric over the seeds of the search."""
    found: dict[float, list[float]] = {}
    for line in lines:
        if (line["task"], line["variant"]) == (task, variant) and line["seed"] in SEARCH_SEEDS:
            quality = line["quality"] if math.isfinite(line["quality"]) else -math.inf
            found.setdefault(line["recipe"]["learning_rate"], []).append(quality)
    return max(found, key=lambda rate: fmean(found[rate]), default=math.nan)


def metrics(
    lines: Sequence[dict[str, Any]], task: str, variant: str, saved: float
) -> dict[int, dict[str, Any]]:
    """Return the results of each seed that was not used to find the rate, at the best rate."""
    rate = best_rate(lines, task, variant)
    has_budget = VARIANTS[variant].has_budget
    return {
        line["seed"]: line
        for line in lines
        if (line["task"], line["variant"]) == (task, variant)
        and line["seed"] not in SEARCH_SEEDS
        and line["recipe"]["learning_rate"] == rate
        and line["budget"] == (saved if has_budget else 0.0)
    }


def table(lines: Sequence[dict[str, Any]], task: str, saved: float) -> str:
    """Return a table in Markdown of a task at a share of saved visits, with 95% intervals."""
    mean_heads = ["mean over kinds %", "− full", "− fewer epochs", "− random"]
    worst_heads = ["worst third %", "− full"]
    rows = [["variant", "rate", "visits saved %", *mean_heads, *worst_heads, "seeds"]]
    bases = [metrics(lines, task, base, saved) for base in (FULL, *BASELINES)]
    for variant in COMPARED:
        found = metrics(lines, task, variant, saved)
        if not found:
            continue
        spared = mean_of([1 - each["visits"] / each["full_visits"] for each in found.values()])
        cells = [
            variant,
            f"{best_rate(lines, task, variant):.2g}",
            f"{100 * spared.value:.0f}",
            mean_of([_mean(each) for each in found.values()]).percent(),
            *(_difference(found, base, _mean) for base in bases),
            mean_of([_worst(each) for each in found.values()]).percent(),
            _difference(found, bases[0], _worst),
            str(len(found)),
        ]
        rows.append(cells)
    return markdown_table(rows)


def overview(
    lines: Sequence[dict[str, Any]],
    metric: Callable[[dict[str, Any]], float],
    saved: float = SAVED,
    *,
    judges: bool = True,
) -> str:
    """Return a metric minus that of full training, by task.

    Arguments:
        lines: all results.
        metric: of a result.
        saved: the share of saved visits; variants that find their own are shown with `SAVED` alone.
        judges: whether to say what the test of non-inferiority finds, at the margin of each task.
    """
    tasks = [task for task in TASKS if metrics(lines, task, RANDOM, saved)]
    margins = {task: find_tasks()[task].margin for task in tasks}
    rows = [["variant", *tasks]]
    for variant in COMPARED[1:]:
        if saved != SAVED and not VARIANTS[variant].has_budget:
            continue
        cells = []
        for task in tasks:
            found, full = (metrics(lines, task, each, saved) for each in (variant, FULL))
            pairs = _gains(found, full, metric)
            cells.append(mean_of(pairs).percent(sign=True) if pairs else "")
            verdict = judge(pairs, margins[task]) if judges else Verdict.UNDECIDED
            if verdict is not Verdict.UNDECIDED:
                cells[-1] += f", {verdict.value}"
        if any(cells):
            rows.append([variant, *cells])
    return markdown_table(rows)


def gains(lines: Sequence[dict[str, Any]]) -> str:
    """Return what variants gain on random pruning, by task and by the share of saved visits."""
    tasks = [task for task in TASKS if metrics(lines, task, RANDOM, SAVED)]
    rows = [["saved", "variant", *tasks]]
    for saved in sorted((SAVED, *OTHER_SHARES)):
        base = [metrics(lines, task, RANDOM, saved) for task in tasks]
        for variant in BY_SHARE:
            found = [metrics(lines, task, variant, saved) for task in tasks]
            cells = [_difference(*pair, _mean) for pair in zip(found, base, strict=True)]
            rows.append([f"{saved:.0%}", variant, *cells])
    return markdown_table(rows, names=2)


def parts(lines: Sequence[dict[str, Any]], longer: Sequence[dict[str, Any]] = ()) -> dict[str, str]:
    """Return the generated parts of the pages by name.

    Arguments:
        lines: results of brief trainings.
        longer: those of trainings of full length.
    """
    tables = [
        f"### {task}\n\n{table(lines, task, SAVED)}"
        for task in TASKS
        if metrics(lines, task, RANDOM, SAVED)
    ]
    return {
        "rare-kinds": overview(lines, _mean),
        "rare-kinds-gains": gains(lines),
        "rare-kinds-worst": overview(lines, _worst, judges=False),
        "rare-kinds-full": overview(longer, _mean),
        "rare-kinds-details": "\n".join(tables),
        **{
            f"rare-kinds-{100 * saved:.0f}": overview(lines, _mean, saved) for saved in OTHER_SHARES
        },
    }


def _mean(line: dict[str, Any]) -> float:
    return float(line["quality"])


def _worst(line: dict[str, Any]) -> float:
    return float(line["other_metrics"][WORST])


def _gains(
    found: dict[int, Any], base: dict[int, Any], metric: Callable[[dict[str, Any]], float]
) -> list[float]:
    return [metric(found[seed]) - metric(base[seed]) for seed in found if seed in base]


def _difference(
    found: dict[int, Any], base: dict[int, Any], metric: Callable[[dict[str, Any]], float]
) -> str:
    pairs = _gains(found, base, metric)
    return mean_of(pairs).percent(sign=True) if pairs and found != base else ""


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="folder of data sets")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--variants", nargs="+", choices=COMPARED, default=list(COMPARED))
    parser.add_argument("--shares", nargs="+", type=float, default=[SAVED, *OTHER_SHARES])
    parser.add_argument("--length", choices=FOLDERS, default="brief")
    parser.add_argument("--results", type=Path, help="folder of the results")
    parser.add_argument("--tables", action="store_true", help="train nothing")
    parser.add_argument("--fill", nargs="+", type=Path, help="pages whose tables are updated")
    given = parser.parse_args()
    results = Results(given.results or FOLDERS[given.length])
    if given.fill is not None:
        found = parts(*(Results(folder).lines for folder in FOLDERS.values()))
        for page in given.fill:
            fill_page(page, found)
        return
    if not given.tables:
        torch.set_num_threads(1)
        for name in given.tasks:
            train(given.root, name, given.variants, given.shares, results, given.length)
    for name in given.tasks:
        for saved in (SAVED, *OTHER_SHARES):
            if metrics(results.lines, name, BASELINES[0], saved):
                print(f"\n### {name}, {saved:.0%} saved\n\n{table(results.lines, name, saved)}")


if __name__ == "__main__":
    main()
