"""`dynaprune bench`: listing tasks, running them, and reporting the results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

from ..bench.recipe import LENGTHS, Length
from ..bench.regimes import REGIMES
from ..bench.registry import WHERE_THE_ZOO_IS, check_names, find_presets, find_task, find_tasks
from ..bench.report import write_report
from ..bench.results import Results, source_of
from ..bench.runner import Plan, Planned, check_losses, plan_runs, run_all
from ..bench.task import Task
from ..bench.variants import BASELINES, DEFAULT, FULL, VARIANTS
from ..utils.user_code import is_users
from .terminal import Console, failed, progress_of_runs

app = typer.Typer(
    help="Train tasks with and without pruning, and test whether pruning loses quality.",
    no_args_is_help=True,
)

EXPECTED_ERRORS = (ImportError, OSError, RuntimeError, ValueError)
"""Errors that are shown without a traceback, unless the user's own task raised them."""

TasksFolder = Annotated[
    Path | None,
    typer.Option(
        "--tasks",
        help="Folder of task files; by default benchmarks/zoo if dynaprune runs from a clone.",
    ),
]


@app.command("list")
def list_tasks(
    folder: TasksFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per task.")] = False,
) -> None:
    """List the tasks, the variants of training, and the regimes."""
    try:
        tasks = find_tasks(folder).values()
    except (ImportError, OSError, ValueError) as error:
        raise failed("bench list", error) from None
    if as_json:
        for task in tasks:
            about = task.describe()
            typer.echo(json.dumps({k: about[k] for k in about if k != "can_slice"}))
        return
    table = Table(title="tasks")
    for name in ("task", "kind", "data set", "model", "metric", "margin"):
        table.add_column(name, no_wrap=name == "task")
    for task in tasks:
        table.add_row(
            task.name, task.kind, task.dataset, task.model, task.metric, f"{task.margin:g}"
        )
    console = Console()
    console.print(table)
    for title, entries in (("variants (--methods)", VARIANTS), ("regimes (--regime)", REGIMES)):
        table = Table(title=title)
        for name in ("name", "description"):
            table.add_column(name)
        for name, entry in entries.items():
            table.add_row(name, entry.about)
        console.print(table)


@app.command("run")
def run_tasks(
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="TASK...", help="Names of tasks, or paths of task files."),
    ] = None,
    folder: TasksFolder = None,
    methods: Annotated[
        str, typer.Option(help="Comma-separated variants; full training is always included.")
    ] = ",".join(DEFAULT),
    budgets: Annotated[
        str, typer.Option(help="Comma-separated shares of all sample visits to save.")
    ] = "0.2,0.3,0.4,0.5",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant and budget.")] = 5,
    regime: Annotated[
        str, typer.Option(help="A change of the data or of the length of training.")
    ] = "as-is",
    length: Annotated[
        str,
        typer.Option(
            help="Recipe: brief, which takes seconds, or full, with which more epochs gain nothing."
        ),
    ] = "brief",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/bench"),
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that contains data sets, for tasks that need it.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of full training, instead of the recipe's.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples per step, instead of the recipe's.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch, instead of the recipe's.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A task of a paper at full size: paper-cifar, in the zoo.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Device to train on; by default a GPU if there is one.")
    ] = None,
    same_task: Annotated[
        bool,
        typer.Option(
            "--same-task", help="Add to results that another version of a task's file produced."
        ),
    ] = False,
) -> None:
    """Train tasks, and write one line per run; existing runs in the folder are not repeated."""
    console = Console()
    own_files = [Path(place) for place in places or [] if place.endswith(".py")]
    try:
        variants, shares, training_length = _variants(methods), _budgets(budgets), _length(length)
        if regime not in REGIMES:
            raise ValueError(f"--regime must be one of {', '.join(REGIMES)}, but it is {regime!r}")
        results = Results(out)
        made = [find_task(place, folder)() for place in places or []]
        if preset is not None:
            made.append(_preset(preset, folder)())
        if not made:
            raise ValueError(
                "no task was given: name one, or a --preset; `dynaprune bench list` lists the tasks"
            )
        check_names([task.name for task in made])
        recipes = [task.recipe_of(training_length) for task in made]
        if not same_task:
            _check_sources(made, results)
        where = _device(device)
    except EXPECTED_ERRORS as error:
        if is_users(error, own_files):
            raise  # an error in the user's own code needs its traceback
        raise failed("bench run", error) from None
    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "threads": threads}
    given = {name: value for name, value in given.items() if value is not None}
    own_threads = torch.get_num_threads()
    plans = []
    # check all tasks before training the first one
    for task, own_recipe in zip(made, recipes, strict=True):
        recipe = replace(own_recipe, **given)
        task.device = where
        torch.set_num_threads(recipe.threads or own_threads)
        try:
            task.load(data_root)
            check_losses(task, recipe)
            plans.append(plan_runs(task, regime, variants, shares, range(seeds), recipe))
        except EXPECTED_ERRORS as error:
            if is_users(error, own_files):
                raise
            raise failed("bench run", error) from None
    if not all(baseline in variants for baseline in BASELINES):
        console.print(
            f"without {' and '.join(BASELINES)} the results cannot show whether scores help",
            style="dim",
        )
    try:
        for task, own_recipe, plan in zip(made, recipes, plans, strict=True):
            torch.set_num_threads(given.get("threads") or own_recipe.threads or own_threads)
            show_runs(console, task, plan, results)
    except KeyboardInterrupt:
        console.print(f"stopped; the same command continues {results.path}", soft_wrap=True)
        raise typer.Exit(130) from None
    console.print(f"{len(results.lines)} runs in {results.path}", soft_wrap=True)


def show_runs(console: Console, task: Task, plan: Plan, results: Results) -> None:
    """Make the missing runs of a plan, with a progress bar."""
    for reason in plan.left_out:
        console.print(f"left out: {reason}", style="dim")
    done = sum(planned.key in results for planned in plan.runs)
    if done == len(plan.runs):
        console.print(f"{task.name}: all {done} runs are already in {results.path}", soft_wrap=True)
        return
    if done:
        console.print(
            f"{task.name}: {done} of {len(plan.runs)} runs are already in {results.path}",
            soft_wrap=True,
        )
    with progress_of_runs(console) as progress:
        bar = progress.add_task(task.name, total=len(plan.runs), completed=done)
        ended = done

        def show(planned: Planned, epoch: int) -> None:
            share = (epoch + 1) / planned.recipe.epochs
            key = planned.key
            budget = f" {key.budget:.0%}" if VARIANTS[key.variant].has_budget else ""
            progress.update(
                bar,
                completed=ended + min(share, 0.99),
                description=f"{task.name}  seed {key.seed}  {key.variant}{budget}",
            )

        for _ in run_all(task, plan.runs, results, show):
            ended += 1
            progress.update(bar, completed=ended)


@app.command("report")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the results.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; by default that of the results.")
    ] = None,
) -> None:
    """Write a report on the results: tables in Markdown, and plots."""
    try:
        results = Results(folder)
        if not results.lines:
            raise ValueError(f"there are no results in {folder}: run `dynaprune bench run` first")
        path = write_report(results, folder if out is None else out)
    except EXPECTED_ERRORS as error:
        raise failed("bench report", error) from None
    Console().print(f"{len(results.lines)} runs; wrote {path}", soft_wrap=True)


def _preset(name: str, folder: Path | None) -> type[Task]:
    """Return the task of a preset.

    Raises:
        ValueError: there is no preset of that name.
    """
    known = find_presets(folder)
    if name not in known:
        allowed = (
            f"one of {', '.join(known)}" if known else f"in a folder of tasks; {WHERE_THE_ZOO_IS}"
        )
        raise ValueError(f"--preset must be {allowed}, but it is {name!r}")
    return known[name]


def _check_sources(tasks: list[Task], results: Results) -> None:
    """Check that the same versions of the tasks made the existing runs.

    Raises:
        ValueError: the file of a task has changed since then.
    """
    for task in tasks:
        source = source_of(type(task))
        others = [line for line in results.lines if line["task"] == task.name]
        changed = sum(line.get("source", source) != source for line in others)
        if changed:
            raise ValueError(
                f"{changed} runs of {task.name} in {results.path} were made by another version of "
                "its file, or of a file that it imports: give another --out, or --same-task to add "
                "to these results"
            )


def _device(name: str | None) -> torch.device:
    """Return the device of the given name, by default a GPU if there is one.

    Raises:
        ValueError: the device is not available.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # torch builds without CUDA use assertions
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device {name} cannot be used here: {reason}") from None
    return device


def _length(given: str) -> Length:
    """Return the length of training of an option.

    Raises:
        ValueError: it is not the name of a length.
    """
    for length in LENGTHS:
        if given == length:
            return length
    raise ValueError(f"--length must be one of {', '.join(LENGTHS)}, but it is {given!r}")


def _variants(given: str) -> list[str]:
    """Return the names of variants in an option.

    Raises:
        ValueError: one is unknown.
    """
    names = [name.strip() for name in given.split(",") if name.strip()]
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise ValueError(
            f"--methods must be among {', '.join(VARIANTS)}, but it contains {', '.join(unknown)}. "
            "`dynaprune bench list` describes them"
        )
    return names or [FULL]


def _budgets(given: str) -> list[float]:
    """Return the shares in an option.

    Raises:
        ValueError: one is not a share.
    """
    try:
        shares = sorted({float(share) for share in given.split(",") if share.strip()})
    except ValueError:
        shares = []
    if not shares or not all(0 < share < 1 for share in shares):
        raise ValueError(
            "--budgets must be shares of sample visits between 0 and 1, joined by commas, such as "
            f"0.2,0.3 for 20 and 30%, but it is {given!r}"
        )
    return shares
