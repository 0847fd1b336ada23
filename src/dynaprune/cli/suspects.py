"""The command that lists the samples whose labels are most probably wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from ..tracking.review import Ledger, write_review
from ..tracking.review.cards import Labels
from ..tracking.review.export import columns_of, write_table
from ..tracking.review.page import check_dataset, ids_of
from ..tracking.review.sources import ledger_of_recording, ledger_of_state
from ..training.checkpoint import load_checkpoint
from ..utils.user_code import is_ours
from .inspect import states_in
from .terminal import Console, failed
from .user_objects import UsageError, load_dataset

SUFFIXES = (".html", ".csv", ".parquet")
"""The kinds of files that the command writes."""

IN_TERMINAL = 20
"""How many suspects are printed by default, and at most if a file has them."""

ON_PAGE = 100
"""How many suspects a page shows by default."""

IN_TABLE = ("index", "fingerprint", "id", "label", "label_quality", "mean_excess", "visits")
"""The columns that the terminal shows."""


def suspects(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_CHECKPOINT",
            help="A directory written by train.record(), or a file written by save_checkpoint.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:FUNCTION",
            help="A function that returns the dataset, for labels, names of files, and the page.",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Number of suspects. Default: {IN_TERMINAL} in the terminal, {ON_PAGE} on a "
            "page, all in a table.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A page to decide on (.html), or a table (.csv or .parquet)."),
    ] = None,
    ids: Annotated[
        str | None,
        typer.Option(help="The column of a Hugging Face dataset that holds the samples' names."),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(help="Which state of a checkpoint, if it holds several: see inspect."),
    ] = None,
    sampling_rate: Annotated[
        int | None,
        typer.Option(help="Sampling rate of sounds, in numbers per second, to play them."),
    ] = None,
) -> None:
    """List the samples whose labels are most probably wrong, or write a page to decide on them."""
    try:
        _check_options(out, data, ids)
        dataset = None if data is None else load_dataset(data)
    except UsageError as error:
        raise failed("suspects", error) from None
    try:
        ledger = _ledger_of(run, state)
        if dataset is not None:
            check_dataset(ledger, dataset)
        names = ids_of(ledger, dataset, ids)
        labels = Labels.of_dataset(dataset, None, len(ledger))
        columns = columns_of(ledger, ledger.suspects(top), names, labels)
        if out is not None and out.suffix == ".html":
            count = ON_PAGE if top is None else top
            write_review(ledger, out, dataset, count=count, ids=names, sampling_rate=sampling_rate)
        elif out is not None:
            write_table(columns, out)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, (RuntimeError, ValueError)) and not is_ours(error):
            raise  # an error in the user's own dataset needs its traceback
        raise failed("suspects", error) from None
    console = Console()
    shown = IN_TERMINAL if top is None else top if out is None else min(top, IN_TERMINAL)
    console.print(suspects_table(columns, shown, len(ledger)))
    if dataset is not None and labels.hint():
        console.print(labels.hint(), soft_wrap=True, markup=False)
    if out is not None:
        console.print(f"wrote {out}", soft_wrap=True, markup=False)


def suspects_table(
    columns: Mapping[str, Sequence[Any] | NDArray[Any]], count: int, total: int
) -> Table:
    """Return the first suspects as a table for the terminal.

    Arguments:
        columns: what is known of each suspect, as returned by `columns_of`.
        count: how many are shown.
        total: N, the number of all samples.
    """
    shown = {name: columns[name] for name in IN_TABLE if name in columns}
    rows = list(zip(*(values[:count] for values in shown.values()), strict=True))
    table = Table(title=f"the {len(rows):,} most suspicious of {total:,} samples")
    for name in shown:
        is_text = name in ("id", "label")
        table.add_column(name.replace("_", " "), justify="left" if is_text else "right")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    return table


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, np.floating) else str(value)


def _check_options(out: Path | None, data: str | None, ids: str | None) -> None:
    """Check options that depend on each other, before anything is read.

    Raises:
        UsageError: they do not fit.
    """
    make = "give --data FILE.py:FUNCTION, a function that returns the dataset"
    if out is not None and out.suffix not in SUFFIXES:
        raise UsageError(
            "--out must end in .html (a page to decide on), .csv or .parquet (a table), but "
            f"{str(out)!r} was given"
        )
    if out is not None and out.suffix == ".html" and data is None:
        raise UsageError(
            f"a page shows the samples: {make}, or write a table (.csv, .parquet) without it"
        )
    if ids is not None and data is None:
        raise UsageError(f"--ids is a column of the dataset: {make}")


def _ledger_of(run: Path, name: str | None) -> Ledger:
    """Return what a recording, or a state of a checkpoint, knows of each sample.

    Raises:
        OSError: there is no such file.
        RuntimeError: it is damaged.
        ValueError: it does not have the state, or no mean excess.
    """
    if run.is_dir():
        return ledger_of_recording(run)
    states = dict(states_in(load_checkpoint(run)))
    if not states:
        raise ValueError(f"{run} holds no state of a pruned dataset, as train.state_dict() has it")
    given = ", ".join(states)
    if name is None and len(states) > 1:
        raise ValueError(f"{run} holds several states: give one of them, --state NAME of {given}")
    if name is not None and name not in states:
        raise ValueError(f"{run} holds no state {name!r}: give --state NAME of {given}")
    return ledger_of_state(states[name or given])
