"""Recipes of full length, and the evidence at that length, one run after the other.

    python benchmarks/evidence/full_length.py run --root DATA   # goes on where it stopped
    python benchmarks/evidence/full_length.py show              # what the searches have found
    python benchmarks/evidence/full_length.py keep              # that, written into the task files

`run` needs nobody: of all searches for a recipe (`length_search.py`) and all rounds of evidence
with a recipe that was found, it always takes the one that costs least. `--out` is a folder for
results other than `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from length_search import Found, LengthSearch
from recipe_writer import write_recipe

from dynaprune.bench.comparison import compare
from dynaprune.bench.recipe import Recipe
from dynaprune.bench.registry import find_tasks
from dynaprune.bench.results import Key, Results, key_of
from dynaprune.bench.runner import Planned, plan_runs, run_all
from dynaprune.bench.statistics import Verdict
from dynaprune.bench.task import Task
from dynaprune.bench.variants import BASELINES, FULL, VARIANTS

ZOO = Path(__file__).parents[1] / "zoo"
RESULTS = Path(__file__).parents[1] / "results"
SEARCHES = "full-length"
EVIDENCE = "bench-full"

COMPARED = (
    *BASELINES,
    "infobatch",
    "bls-infobatch",
    "slices-infobatch",
    "seta",
    "bls-seta",
    "skip-converged",
    "random-auto",
    "drawn-infobatch-auto",
    "infobatch-auto",
    "bls-infobatch-auto",
)
BUDGETS = (0.3, 0.5)
SMALLER, LARGER = 0.2, 0.7
"""For a variant that is not lossless at the smaller of the budgets, or is at the larger one."""

ALIKE, ALIKE_FROM = ("infobatch", "bls-infobatch", "slices-infobatch"), 0.5
"""Variants that make the same choices at this budget and above: only one of them is run.

No weight exceeds 2 there, so that all samples are candidates, whatever their scores are. Where runs
were made for each of them they differed by rounding alone.
"""

SEEDS = 5

SEARCH_COST = 40
"""Brief trainings that a search takes, if it goes to the end."""

ROUND_COST = 10
"""Full trainings that a seed of the evidence takes."""

SAME_KIND = 3
"""How much dearer a task counts if there is a cheaper one of its kind: kinds come first."""


@dataclass(frozen=True)
class Job:
    """A search for a recipe, or a part of the evidence with one.

    Attributes:
        cost: an estimate of its CPU seconds.
        task: its name.
        seed: of the evidence; `None` for a search, and one more than the last for the budgets that
            are added when all seeds have been run.
        recipe: of the evidence.
    """

    cost: float
    task: str
    seed: int | None = None
    recipe: Recipe | None = None


class FullLength:
    """All searches and all evidence.

    Arguments:
        root: the folder that holds data sets; `None` if nothing is to be run.
        out: the folder for results.
        tasks: by name.
        brief: by task the seconds of a brief full training, and the spread of its metric.
        seeds: how many seeds the evidence has.

    Attributes:
        tasks: by name.
    """

    def __init__(
        self,
        root: Path | None,
        out: Path,
        tasks: Mapping[str, type[Task]],
        brief: Mapping[str, tuple[float, float]],
        seeds: int = SEEDS,
    ) -> None:
        self.tasks, self._brief, self._seeds = tasks, brief, seeds
        self._searches = Results(out / SEARCHES)
        self._evidence = Results(out / EVIDENCE)
        self._done: set[tuple[str, int]] = set()
        self._loaded = lru_cache(maxsize=1)(lambda name: load_task(tasks[name], root))

    @classmethod
    def kept(
        cls, root: Path | None = None, out: Path = RESULTS, names: Iterable[str] | None = None
    ) -> FullLength:
        """Return those of the zoo's tasks, or of some of them, whose brief results are known."""
        brief = brief_trainings(Results(RESULTS / "bench"), Results(RESULTS / "bench-seconds"))
        tasks = {name: task for name, task in find_tasks(ZOO).items() if name in brief}
        if names is not None:
            tasks = {name: tasks[name] for name in names}
        return cls(root, out, tasks, brief)

    def run(self) -> None:
        """Do all jobs that are left, the cheapest first."""
        while jobs := list(self._jobs()):
            self._do(min(jobs, key=lambda job: job.cost))

    def found(self, name: str) -> Found | None:
        """Return the recipe of a task, if its search is complete."""
        return LengthSearch(self.tasks[name](), self._searches, self._brief[name][1]).found()

    def recipes(self) -> dict[str, Found]:
        """Return what the searches that are complete came to, by task."""
        return {name: found for name in self.tasks if (found := self.found(name))}

    def _jobs(self) -> Iterator[Job]:
        kinds: set[str] = set()
        for name in sorted(self.tasks, key=lambda name: self._brief[name][0]):
            weight = SAME_KIND if self.tasks[name].kind in kinds else 1
            kinds.add(self.tasks[name].kind)
            found = self.found(name)
            if found is None:
                yield Job(weight * SEARCH_COST * self._brief[name][0], name)
                continue
            seed = next((s for s in range(self._seeds + 1) if (name, s) not in self._done), None)
            if seed is not None:
                yield Job(weight * ROUND_COST * found.seconds, name, seed, found.recipe)

    def _do(self, job: Job) -> None:
        task = self._loaded(job.task)
        if job.recipe is None or job.seed is None:
            noise = self._brief[job.task][1]
            print(described(LengthSearch(task, self._searches, noise).run()), flush=True)
            return
        if job.seed < self._seeds:
            self._run(task, job.recipe, COMPARED, BUDGETS, [job.seed])
        else:
            for variant, budgets in self._added_budgets(task, job.recipe).items():
                self._run(task, job.recipe, [variant], budgets, range(self._seeds))
        self._done.add((job.task, job.seed))

    def _run(
        self,
        task: Task,
        recipe: Recipe,
        variants: Iterable[str],
        budgets: Iterable[float],
        seeds: Iterable[int],
    ) -> None:
        plan = plan_runs(task, "as-is", list(variants), list(budgets), list(seeds), recipe)
        twins = {number: self._twin_of(run.key, plan.runs) for number, run in enumerate(plan.runs)}
        made = [run for number, run in enumerate(plan.runs) if twins[number] is None]
        for planned, line in run_all(task, made, self._evidence):
            key = planned.key
            print(
                f"seed {key.seed}  {key.task}  {key.variant} {key.budget:.0%}: "
                f"{line['quality']:.4g} "
                f"in {line['seconds']:.0f} s",
                flush=True,
            )
        for number, twin in twins.items():
            if twin is not None and plan.runs[number].key not in self._evidence:
                self._copy(twin, plan.runs[number].key)

    def _twin_of(self, key: Key, runs: Iterable[Planned]) -> Key | None:
        """Return the run, planned or made, that makes the same choices and comes first."""
        if key.variant not in ALIKE or key.budget < ALIKE_FROM:
            return None
        planned = [run.key for run in runs]
        for variant in ALIKE[: ALIKE.index(key.variant)]:
            twin = replace(key, variant=variant)
            if twin in planned or twin in self._evidence:
                return twin
        return None

    def _copy(self, source: Key, key: Key) -> None:
        """Add the result of a run as that of one that makes the same choices."""
        found = next(line for line in self._evidence.lines if key_of(line) == source)
        results = {name: value for name, value in found.items() if name not in asdict(key)}
        self._evidence.add(key, {**results, "copied_from": source.variant})

    def _added_budgets(self, task: Task, recipe: Recipe) -> dict[str, list[float]]:
        """Return the budgets that each variant gets besides, by what five seeds have shown."""
        lines = [line for line in self._evidence.lines if line["task"] == task.name]
        added: dict[str, list[float]] = {}
        for row in compare(lines, task.margin, task.higher_is_better):
            if not VARIANTS[row.variant].has_budget or row.variant == FULL:
                continue
            is_lossless = row.verdict is Verdict.LOSSLESS
            if row.budget == BUDGETS[0] and not is_lossless:
                added.setdefault(row.variant, []).append(SMALLER)
            if row.budget == BUDGETS[1] and is_lossless:
                added.setdefault(row.variant, []).append(LARGER)
        return added


def load_task(task: type[Task], root: Path | None) -> Task:
    """Return a task with its data, for runs on one thread."""
    torch.set_num_threads(1)
    made = task()
    made.load(root)
    return made


def brief_trainings(runs: Results, timed: Results) -> dict[str, tuple[float, float]]:
    """Return, by task, the seconds of a brief full training and the spread of its metric."""
    qualities: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    for line in full_runs(runs):
        qualities.setdefault(line["task"], []).append(line["quality"])
        seconds.setdefault(line["task"], line["seconds"])
    seconds |= {line["task"]: line["seconds"] for line in full_runs(timed)}
    return {
        name: (seconds[name], statistics.stdev(found))
        for name, found in qualities.items()
        if len(found) > 1
    }


def full_runs(results: Results) -> Iterator[dict[str, Any]]:
    """Yield the results of full training on the data as they are."""
    return (line for line in results.lines if line["variant"] == FULL and line["regime"] == "as-is")


def described(found: Found) -> str:
    """Return what a search came to, as a line."""
    recipe = found.recipe
    gains = ", ".join(
        f"{step.recipe.epochs} at {step.recipe.learning_rate:g}: "
        f"{step.gain:+.2f} ± {step.error:.2f} ({step.seeds})"
        for step in found.steps
    )
    end = "saturates" if found.saturates else "DOES NOT SATURATE"
    sure = "" if found.is_sure or not found.saturates else ", within the noise"
    return (
        f"FOUND {found.task}: {recipe.epochs} epochs at {recipe.learning_rate:g}, {end}{sure}; "
        f"{found.seconds:.0f} s a run; gain in margins by epochs (seeds): {gains}"
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "show", "keep"))
    parser.add_argument("--root", type=Path, help="folder that holds data sets")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="only these tasks")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for results")
    given = parser.parse_args()
    if given.what == "run" and given.root is None:
        parser.error("name the folder that holds data sets: --root")
    all_tasks = FullLength.kept(given.root, given.out, given.tasks)
    if given.what == "run":
        all_tasks.run()
    for name in all_tasks.tasks:
        found = all_tasks.found(name)
        print(described(found) if found else f"{name}: not found yet")
        if found and given.what == "keep":
            write_recipe(all_tasks.tasks[name], found.recipe)


if __name__ == "__main__":
    main()
