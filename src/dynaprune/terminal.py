"""What commands show in a terminal."""

from __future__ import annotations

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


def failed(command: str, error: Exception) -> typer.Exit:
    """Print what the user has to mend, and return what ends the command."""
    message = Text.assemble((f"dynaprune {command}: ", "red"), str(error))  # as text: no markup
    Console(stderr=True, soft_wrap=True).print(message)
    return typer.Exit(2)


def progress_of_runs(console: Console) -> Progress:
    """Return a bar that counts runs."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
