"""Make the runs behind docs/evidence.md, several at a time.

    python benchmarks/evidence/evidence.py run --root DATA    # continues where it stopped
    python benchmarks/evidence/evidence.py rates --root DATA  # runs at other learning rates
    python benchmarks/evidence/evidence.py time --root DATA   # timed runs: keep the machine idle
    python benchmarks/evidence/evidence.py left --root DATA   # the number of missing runs
    python benchmarks/evidence/evidence.py fill               # update the pages on evidence

The runs are those of `dynaprune bench run`, in several processes. All tasks are run with the first
seed, then with the next one, so that all tables fill at the same pace.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import loss_shares
from automatic_table import FROM_BATCHES
from full_length import EVIDENCE, RESULTS, ZOO, FullLength, load_task
from page import SAVED, WITHOUT_BUDGET, fill
from rates_table import RATES, TASKS
from rates_table import SAVED as HALF
from scores_table import BUDGETS

from dynaprune.bench.registry import find_tasks
from dynaprune.bench.results import Results
from dynaprune.bench.runner import Planned, make_run, plan_runs, warm_up
from dynaprune.bench.task import Task
from dynaprune.bench.variants import BASELINES, FULL, RANDOM

FOLDER = RESULTS / "bench"
OTHER_RATES = RESULTS / "bench-rates"
SECONDS = RESULTS / "bench-seconds"

EVERY_BUDGET = (FULL, *BASELINES, "seta", "bls-infobatch", "bls-seta")
BY_OTHER_SCORES = ("infobatch", "kalman-infobatch", "slices-infobatch")
BELOW_HALF = (0.2, 0.3, 0.4)  # at 50% InfoBatch draws from all samples, whatever their scores
REGIME_BUDGETS = (0.2, 0.4)

OTHER_STUDIES = ("cifar10-unpooled", "chemprot-words", "trec-words", "segments-mlp")

REGIMES = {
    "digits-cnn": (
        "redundant",
        "long-tailed",
        "long-tailed-balanced",
        "trivial",
        "wrong-labels",
        "brief",
        "saturated",
    ),
    "sst2-lstm": ("redundant", "trivial", "wrong-labels", "brief", "saturated"),
    # instead of SST-2, whose two classes make no long tail
    "mnist5k-cnn": ("long-tailed", "long-tailed-balanced"),
}
BY_REGIME = (
    FULL,
    *BASELINES,
    "infobatch",
    "bls-infobatch",
    "slices-infobatch",
    "equal-infobatch",
    "slices-equal-infobatch",
    *WITHOUT_BUDGET,
)

ONLY_IN = {
    # shows whether a gain comes from InfoBatch's weights alone, in settings where visits matter
    "drawn-infobatch": ("as-is", "long-tailed", "long-tailed-balanced", "brief"),
    "slices-trimmed": ("wrong-labels",),
}

TIMED = (FULL, *BASELINES, "infobatch", "bls-infobatch", "kalman-infobatch", "slices-infobatch")
"""The variants that are timed, by sequential runs on an otherwise idle machine."""


@dataclass(frozen=True)
class Stage:
    """Runs of a task in a regime.

    Attributes:
        task: the name of the task.
        regime: the name of the regime.
        variants: the names of the variants.
        budgets: the shares of visits to save.
        rate: the factor on the learning rate of the task's recipe.
    """

    task: str
    regime: str
    variants: tuple[str, ...]
    budgets: tuple[float, ...]
    rate: float = 1.0


def compared_tasks() -> list[str]:
    """Return the tasks of the zoo but those of other studies: of wrong labels, of rare kinds."""
    return [task for task in find_tasks(ZOO) if task not in OTHER_STUDIES]


def stages() -> list[Stage]:
    """Return the stages of the main runs, which are repeated for each seed."""
    found = []
    for task in compared_tasks():
        found.append(Stage(task, "as-is", (*WITHOUT_BUDGET, *FROM_BATCHES), ()))
        found.append(Stage(task, "as-is", EVERY_BUDGET, BUDGETS))
        found.append(Stage(task, "as-is", BY_OTHER_SCORES, BELOW_HALF))
        found.append(Stage(task, "as-is", ("drawn-infobatch",), (SAVED,)))
    for task, regimes in REGIMES.items():
        for regime in ("as-is", *regimes):
            asked = [variant for variant, places in ONLY_IN.items() if regime in places]
            found.append(Stage(task, regime, (*BY_REGIME, *asked), REGIME_BUDGETS))
    return found


def timed_stages() -> list[Stage]:
    """Return the stages of the timed runs."""
    return [Stage(task, "as-is", TIMED, (SAVED,)) for task in compared_tasks()]


def rated_stages() -> list[Stage]:
    """Return the stages of the runs at other learning rates."""
    return [Stage(task, "as-is", (FULL, RANDOM), (HALF,), rate) for task in TASKS for rate in RATES]


def planned(root: Path, results: Results, seeds: int, stages: Sequence[Stage]) -> Iterator[Planned]:
    """Yield the missing runs of stages."""
    asked: set[str] = set()
    for seed in range(seeds):
        for stage in stages:
            task = loaded(stage.task, root)
            usual = type(task).recipe
            recipe = replace(usual, learning_rate=stage.rate * usual.learning_rate)
            plan = plan_runs(task, stage.regime, stage.variants, stage.budgets, [seed], recipe)
            for run in plan.runs:
                if run.key not in results and repr(run.key) not in asked:
                    asked.add(repr(run.key))
                    yield run


@cache
def loaded(name: str, root: Path) -> Task:
    """Return a task with its data."""
    return load_task(find_tasks(ZOO)[name], root)


@cache
def warm(name: str, root: Path) -> Task:
    """Return a task with its data after some steps; the first ones in a process are slow."""
    task = loaded(name, root)
    warm_up(task, task.recipe)
    return task


def work(root: Path, run: Planned) -> dict[str, Any]:
    """Make a run; called in a worker process."""
    return make_run(warm(run.key.task, root), run)


def run_missing(coming: Iterator[Planned], root: Path, results: Results, processes: int) -> None:
    """Make runs in several processes, and write each result when it is finished."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        running: dict[Future[dict[str, Any]], Planned] = {}
        while True:
            for run in islice(coming, processes + 1 - len(running)):
                running[pool.submit(work, root, run)] = run
            if not running:
                return
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(ended).key
                line = results.add(key, ended.result())
                print(
                    f"seed {key.seed}  {key.task}  {key.regime}  {key.variant} {key.budget:.0%}: "
                    f"{line['quality']:.4g} in {line['seconds']:.1f} s",
                    flush=True,
                )


def main() -> None:
    """Execute the given subcommand."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "rates", "time", "left", "fill"))
    parser.add_argument("--root", type=Path, help="folder that contains the data sets")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    folder = {"rates": OTHER_RATES, "time": SECONDS}.get(given.what, FOLDER)
    results = Results(given.out or folder)
    if given.what == "fill":
        full_length, recipes = Results(RESULTS / EVIDENCE), FullLength.kept().recipes()
        fill(
            results,
            Results(OTHER_RATES),
            Results(SECONDS),
            full_length,
            recipes,
            loss_shares.kept_results(),
        )
    elif given.root is None:
        parser.error("give the folder that contains the data sets: --root")
    elif given.what in ("run", "rates"):
        wanted = rated_stages() if given.what == "rates" else stages()
        coming = planned(given.root, results, given.seeds, wanted)
        run_missing(coming, given.root, results, given.processes)
    elif given.what == "time":
        coming = planned(given.root, results, 1, timed_stages())
        run_missing(coming, given.root, results, processes=1)
    else:
        missing = sum(1 for _ in planned(given.root, results, given.seeds, stages()))
        print(f"{len(results.lines)} runs are finished, {missing} are missing")


if __name__ == "__main__":
    main()
