"""`dynaprune bench`: which tasks there are, running them, and what came of it."""

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
from ..bench.ways import BASELINES, DEFAULT, FULL, WAYS
from ..utils.user_code import is_users
from .terminal import Console, failed, progress_of_runs

app = typer.Typer(
    help="Train tasks with and without pruning, and test whether that loses quality.",
    no_args_is_help=True,
)

Mistakes = (ImportError, OSError, RuntimeError, ValueError)

TasksFolder = Annotated[
    Path | None,
    typer.Option(
        "--tasks",
        help="Folder of task files; by default benchmarks/zoo of the clone, if it is one.",
    ),
]


@app.command("list")
def list_tasks(
    folder: TasksFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a task.")] = False,
) -> None:
    """Show the tasks, and the ways of training them."""
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
    for title, entries in (("ways (--methods)", WAYS), ("regimes (--regime)", REGIMES)):
        table = Table(title=title)
        for name in ("name", "what it is"):
            table.add_column(name)
        for name, entry in entries.items():
            table.add_row(name, entry.about)
        console.print(table)


@app.command("run")
def run_tasks(
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="TASK...", help="Names, or paths of task files."),
    ] = None,
    folder: TasksFolder = None,
    methods: Annotated[
        str, typer.Option(help="Ways of training, with commas; full training is always run.")
    ] = ",".join(DEFAULT),
    budgets: Annotated[
        str, typer.Option(help="Shares of all sample visits to save, with commas.")
    ] = "0.2,0.3,0.4,0.5",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each.")] = 5,
    regime: Annotated[str, typer.Option(help="What is done to the data.")] = "as-is",
    length: Annotated[
        str,
        typer.Option(
            help="Of training: brief, which takes seconds, or full, until more gains nothing."
        ),
    ] = "brief",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/bench"),
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that holds data sets, for tasks that need one.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of full training, in place of the recipe's.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples a step, in place of the recipe's.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of torch, in place of the recipe's.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A task of a paper, at its size: paper-cifar, of the zoo.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where to train; by default a GPU if there is one.")
    ] = None,
    same_task: Annotated[
        bool,
        typer.Option("--same-task", help="Go on with runs of another version of a task's file."),
    ] = False,
) -> None:
    """Train tasks, and write a line a run. What is in the folder already is not run again."""
    console = Console()
    own_files = [Path(place) for place in places or [] if place.endswith(".py")]
    try:
        ways, shares, training_length = _ways(methods), _budgets(budgets), _length(length)
        if regime not in REGIMES:
            raise ValueError(f"--regime must be one of {', '.join(REGIMES)}, but it is {regime!r}")
        results = Results(out)
        made = [find_task(place, folder)() for place in places or []]
        if preset is not None:
            made.append(_preset(preset, folder)())
        if not made:
            raise ValueError("name a task, or a --preset; `dynaprune bench list` shows the tasks")
        check_names([task.name for task in made])
        recipes = [task.recipe_of(training_length) for task in made]
        if not same_task:
            _check_sources(made, results)
        where = _device(device)
    except Mistakes as error:
        if is_users(error, own_files):
            raise  # that needs its traceback
        raise failed("bench run", error) from None
    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "threads": threads}
    given = {name: value for name, value in given.items() if value is not None}
    own_threads = torch.get_num_threads()
    plans = []
    # all of them before any is trained: what is wrong shows at once
    for task, own_recipe in zip(made, recipes, strict=True):
        recipe = replace(own_recipe, **given)
        task.device = where
        torch.set_num_threads(recipe.threads or own_threads)
        try:
            task.load(data_root)
            check_losses(task, recipe)
            plans.append(plan_runs(task, regime, ways, shares, range(seeds), recipe))
        except Mistakes as error:
            if is_users(error, own_files):
                raise
            raise failed("bench run", error) from None
    if not all(baseline in ways for baseline in BASELINES):
        console.print(
            f"without {' and '.join(BASELINES)} nothing will tell whether scores save anything",
            style="dim",
        )
    try:
        for task, own_recipe, plan in zip(made, recipes, plans, strict=True):
            torch.set_num_threads(given.get("threads") or own_recipe.threads or own_threads)
            show_runs(console, task, plan, results)
    except KeyboardInterrupt:
        console.print(f"stopped; the same command goes on from {results.path}", soft_wrap=True)
        raise typer.Exit(130) from None
    console.print(f"{len(results.lines)} runs in {results.path}", soft_wrap=True)


def show_runs(console: Console, task: Task, plan: Plan, results: Results) -> None:
    """Make the runs of a plan that are missing, with a bar."""
    for reason in plan.left_out:
        console.print(f"left out: {reason}", style="dim")
    done = sum(planned.key in results for planned in plan.runs)
    if done == len(plan.runs):
        console.print(f"{task.name}: all {done} runs are in {results.path} already", soft_wrap=True)
        return
    if done:
        console.print(
            f"{task.name}: {done} of {len(plan.runs)} runs are in {results.path} already",
            soft_wrap=True,
        )
    with progress_of_runs(console) as progress:
        bar = progress.add_task(task.name, total=len(plan.runs), completed=done)
        ended = done

        def show(planned: Planned, epoch: int) -> None:
            share = (epoch + 1) / planned.recipe.epochs
            key = planned.key
            budget = f" {key.budget:.0%}" if WAYS[key.way].has_budget else ""
            progress.update(
                bar,
                completed=ended + min(share, 0.99),
                description=f"{task.name}  seed {key.seed}  {key.way}{budget}",
            )

        for _ in run_all(task, plan.runs, results, show):
            ended += 1
            progress.update(bar, completed=ended)


@app.command("report")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the results are.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; by default that of the results.")
    ] = None,
) -> None:
    """Write tables in Markdown, and pictures, of what is there."""
    try:
        results = Results(folder)
        if not results.lines:
            raise ValueError(f"there are no results in {folder}: run `dynaprune bench run` first")
        path = write_report(results, folder if out is None else out)
    except Mistakes as error:
        raise failed("bench report", error) from None
    Console().print(f"{len(results.lines)} runs; wrote {path}", soft_wrap=True)


def _preset(name: str, folder: Path | None) -> type[Task]:
    """Return the task of a paper.

    Raises:
        ValueError: there is none of that name.
    """
    known = find_presets(folder)
    if name not in known:
        there = (
            f"one of {', '.join(known)}" if known else f"in a folder of tasks; {WHERE_THE_ZOO_IS}"
        )
        raise ValueError(f"--preset must be {there}, but it is {name!r}")
    return known[name]


def _check_sources(tasks: list[Task], results: Results) -> None:
    """Check that the runs that are there were made by these tasks.

    Raises:
        ValueError: the file of a task was another one then.
    """
    for task in tasks:
        source = source_of(type(task))
        others = [line for line in results.lines if line["task"] == task.name]
        changed = sum(line.get("source", source) != source for line in others)
        if changed:
            raise ValueError(
                f"{changed} runs of {task.name} in {results.path} were made by another version of "
                "its file, or of what that imports: give another --out, or --same-task to go on "
                "with them"
            )


def _device(name: str | None) -> torch.device:
    """Return the device of a name; without one a GPU, if there is one.

    Raises:
        ValueError: it cannot be used here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # torch without CUDA asserts that it has it
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device {name} cannot be used here: {reason}") from None
    return device


def _length(given: str) -> Length:
    """Return the length of training of an option.

    Raises:
        ValueError: it is none.
    """
    for length in LENGTHS:
        if given == length:
            return length
    raise ValueError(f"--length must be one of {', '.join(LENGTHS)}, but it is {given!r}")


def _ways(given: str) -> list[str]:
    """Return the names of ways of an option.

    Raises:
        ValueError: one is not known.
    """
    names = [name.strip() for name in given.split(",") if name.strip()]
    unknown = [name for name in names if name not in WAYS]
    if unknown:
        raise ValueError(
            f"--methods knows no {', '.join(unknown)}; there are {', '.join(WAYS)}. `dynaprune "
            "bench list` says what they are"
        )
    return names or [FULL]


def _budgets(given: str) -> list[float]:
    """Return the shares of an option.

    Raises:
        ValueError: one is no share.
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
