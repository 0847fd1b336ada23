"""The subcommands of the `dynaprune` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from .. import __version__
from ..diagnostics import audit as audit_run
from ..diagnostics.spectrum import spectrum as spectrum_of
from ..tracking.recording import read_recording, read_run
from ..tracking.report import write_report as write_page
from ..training.checkpoint import load_checkpoint
from ..utils.user_code import is_ours
from .audit_table import findings_table
from .bench import app as bench_app
from .demo import demo
from .inspect import others_table, state_table, states_in
from .spectrum_view import draw_spectrum, spectrum_table
from .suspects import suspects
from .terminal import Console, failed, visible
from .user_objects import UsageError, load, load_dataset

app = typer.Typer(
    help="Train the same PyTorch model on fewer samples.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(bench_app, name="bench")
app.command()(demo)
app.command()(suspects)


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
    """Handle the options that belong to no subcommand."""


@app.command()
def audit(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:FUNCTION",
            help="A function that returns train, model, loss_fn, and optionally a collate_fn, "
            "or a dict of the arguments of audit().",
        ),
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A file written by save_checkpoint(PATH, train=train, model=model)."),
    ] = None,
    num_samples: Annotated[int, typer.Option(min=1, help="Samples to measure.")] = 1000,
) -> None:
    """Compare the scores of a run with the true losses of some samples, and give advice."""
    try:
        arguments = load(place, checkpoint)
    except UsageError as error:
        raise failed("audit", error) from None
    try:
        found = audit_run(**arguments, num_samples=num_samples)
    except (RuntimeError, TypeError, ValueError) as error:
        if not is_ours(error):
            raise  # an error in the user's own code needs its traceback
        raise failed("audit", error) from None
    console = Console()
    console.print(findings_table(found, place))
    for sentence in found.advice:
        console.print(f"- {sentence}", markup=False, highlight=False)


@app.command()
def inspect(
    checkpoint: Annotated[
        Path, typer.Argument(help="A file written by save_checkpoint, torch.save or a framework.")
    ],
) -> None:
    """Print the contents of a saved state: the position of the run, its scores and visits."""
    try:
        states = load_checkpoint(checkpoint)
        found = [state_table(name, state) for name, state in states_in(states)]
        others = others_table(states)
    except (OSError, RuntimeError) as error:
        raise failed("inspect", error) from None
    console = Console()
    for table in found:
        console.print(table)
    if others is not None:
        console.print(others)
    if not found:
        message = f"{checkpoint} holds no state of a pruned dataset, as train.state_dict() has it"
        raise failed("inspect", ValueError(message))


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="A directory written by train.record().")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:FUNCTION",
            help="A function that returns the dataset, to show samples and classes.",
        ),
    ] = None,
) -> None:
    """Write a page that shows what a recorded training has skipped: one file, no network."""
    try:
        dataset = None if data is None else load_dataset(data)
    except UsageError as error:
        raise failed("report", error) from None
    try:
        write_page(run_dir, out, dataset=dataset)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, (RuntimeError, ValueError)) and not is_ours(error):
            raise  # an error in the user's own dataset needs its traceback
        raise failed("report", error) from None
    Console().print(f"wrote {out}", soft_wrap=True, markup=False)


@app.command()
def spectrum(
    run_dir: Annotated[Path, typer.Argument(help="A directory written by train.record().")],
    alpha: Annotated[float, typer.Option(help="α of the moving average of BLS, in [0, 1).")] = 0.7,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="A batch size other than the recording's.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("spectrum.png"),
) -> None:
    """Show how much a sample's own loss and its neighbours contribute to its batch losses."""
    console = Console()
    try:
        run, recording = read_run(run_dir), read_recording(run_dir)
        found = spectrum_of(recording, alpha, batch_size)
        title = f"{run.get('method')}, {run.get('score')}, epochs: {len(recording)}"
        draw_spectrum(out, found, visible(title).replace("$", r"\$"))  # "$" begins a formula
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise failed("spectrum", error) from None
    console.print(spectrum_table(found, escape(title)))
    console.print(f"wrote {out}", soft_wrap=True, markup=False)
