"""How long a task has to be trained until more training gains nothing, and at which rate.

The epochs are doubled until doubling gains less than half of the task's margin, at most four times.
The last length that was tried is the full length, so that a training of that length wastes visits,
as those of the literature do; the length before it, if doubling lost as much, as where a model
overfits. There the learning rate is chosen among three. If it is not the task's own, the last
doubling is tried again, and doubling goes on if that gains enough.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from dynaprune.bench.recipe import Recipe
from dynaprune.bench.results import Key, Results, machine, source_of
from dynaprune.bench.task import Task
from dynaprune.bench.training import train_run
from dynaprune.bench.ways import FULL
from dynaprune.methods import NoPrune

SEEDS = (100, 101, 102, 103)
"""None of the seeds of the evidence: a length that was lucky for a seed is not judged by it."""

LONGEST = 16
"""Times the epochs of the brief recipe."""

ENOUGH = 0.5
"""Margins: what doubling has to gain."""

RATES = (1.0, 0.5, 2.0)
"""Times the brief recipe's learning rate."""

LIMIT = 600.0
"""CPU seconds of a run, and of all runs of one recipe but the first."""


Train: TypeAlias = Callable[[Task, Recipe, int], dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """A doubling.

    Attributes:
        recipe: how it trained, after doubling.
        gain: the mean quality gained, in margins; positive is better.
        error: its standard error, in margins, from the spread of seeds at the brief length.
        seeds: how many there were.
    """

    recipe: Recipe
    gain: float
    error: float
    seeds: int


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        task: its name.
        recipe: of full length.
        steps: the doublings, in their order.
        saturates: whether the last doubling gained less than half of a margin.
        is_sure: whether it did so by more than the standard error.
        seconds: CPU seconds of a run of that recipe.
    """

    task: str
    recipe: Recipe
    steps: tuple[Step, ...]
    saturates: bool
    is_sure: bool
    seconds: float


def train(task: Task, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Train a task on all of its data, and return what that came to."""
    started = time.process_time()  # the machine does other things too
    run = train_run(task, recipe, NoPrune(task.train, recipe.epochs, seed=seed), seed)
    spent = time.process_time() - started
    samples = len(task.train)
    found = {
        **asdict(run),
        "cpu_seconds": spent,
        "samples": samples,
        "full_visits": run.visits,
        "about": task.describe(),
        "source": source_of(type(task)),
        "machine": machine(task.device),
    }
    print(
        f"{task.name}  {recipe.epochs} epochs at {recipe.learning_rate:g}  seed {seed}: "
        f"{run.quality:.4g} in {spent:.0f} s",
        flush=True,
    )
    return found


class LengthSearch:
    """The search for one task. Runs that were made are not made again.

    Arguments:
        task: its data are loaded; `found` can do without.
        results: where runs go.
        noise: the standard deviation of the metric over seeds; NaN if it is not known, and then
            each recipe gets all seeds.
        train: makes a run, and returns its line of results.
    """

    def __init__(self, task: Task, results: Results, noise: float, train: Train = train) -> None:
        self._task, self._results, self._noise, self._train = task, results, noise, train

    def run(self) -> Found:
        """Make the runs that are missing, and return what they show."""
        return self._search(make=True)

    def found(self) -> Found | None:
        """Return what the runs show that were made, or `None` while some are missing."""
        try:
            return self._search(make=False)
        except LookupError:
            return None

    def _search(self, make: bool) -> Found:
        recipe, steps = self._double(self._task.recipe, make)
        best = self._best_rate(recipe, make)
        if best.learning_rate != recipe.learning_rate:
            shorter = max(self._task.recipe.epochs, best.epochs // 2)
            recipe, more = self._double(replace(best, epochs=shorter), make)
            steps += more
        last = steps[-1] if steps else None
        return Found(
            self._task.name,
            recipe,
            tuple(steps),
            last is not None and last.gain < ENOUGH,
            last is not None and last.gain + last.error < ENOUGH,
            self._seconds(recipe),
        )

    def _double(self, recipe: Recipe, make: bool) -> tuple[Recipe, list[Step]]:
        """Return the recipe at which doubling gains too little, and the doublings."""
        steps: list[Step] = []
        while True:
            longer = replace(recipe, epochs=2 * recipe.epochs)
            if longer.epochs > LONGEST * self._task.recipe.epochs:
                return recipe, steps
            self._line(recipe, SEEDS[0], make)
            if 2 * self._seconds(recipe) > LIMIT:
                return recipe, steps
            step = self._gain(recipe, longer, make)
            steps.append(step)
            if step.gain > -ENOUGH:
                recipe = longer
            if step.gain < ENOUGH:
                return recipe, steps

    def _gain(self, shorter: Recipe, longer: Recipe, make: bool) -> Step:
        """Return what doubling gains, with as many seeds as it takes to tell."""
        gains: list[float] = []
        for seed in SEEDS:
            before = self._quality(shorter, seed, make)
            after = self._quality(longer, seed, make)
            gains.append((after - before) / self._task.margin)
            mean = statistics.fmean(gains)
            error = self._noise / self._task.margin * math.sqrt(2 / len(gains))
            is_told = abs(abs(mean) - ENOUGH) > error
            if is_told or (len(gains) + 1) * self._seconds(longer) > LIMIT:
                break
        return Step(longer, mean, error, len(gains))

    def _best_rate(self, recipe: Recipe, make: bool) -> Recipe:
        """Return the recipe at the best of three learning rates, by the seeds that all have."""
        rates = [self._task.recipe.learning_rate * rate for rate in RATES]
        recipes = [replace(recipe, learning_rate=rate) for rate in rates]
        seeds = SEEDS[: max(1, min(2, int(LIMIT // self._seconds(recipe))))]
        means = {
            each: statistics.fmean(self._quality(each, seed, make) for seed in seeds)
            for each in recipes
        }
        return max(recipes, key=means.__getitem__)

    def _quality(self, recipe: Recipe, seed: int, make: bool) -> float:
        """Return the metric of a run, where higher is better; the worst if it diverged."""
        quality: float = self._line(recipe, seed, make)["quality"]
        if not math.isfinite(quality):
            return -1e9
        return quality if self._task.higher_is_better else -quality

    def _line(self, recipe: Recipe, seed: int, make: bool) -> dict[str, Any]:
        for line in self._lines(recipe):
            if line["seed"] == seed:
                return line
        if not make:
            raise LookupError(f"{self._task.name} lacks a run of {recipe} with seed {seed}")
        key = Key(self._task.name, "as-is", FULL, 0.0, seed, asdict(recipe))
        return self._results.add(key, self._train(self._task, recipe, seed))

    def _lines(self, recipe: Recipe) -> Iterator[dict[str, Any]]:
        fields = asdict(recipe)
        for line in self._results.lines:
            if line["task"] == self._task.name and line["recipe"] == fields:
                yield line

    def _seconds(self, recipe: Recipe) -> float:
        """Return the CPU seconds of the first run of a recipe; later ones change no decision."""
        return next((float(line["cpu_seconds"]) for line in self._lines(recipe)), 0.0)
