"""What commands show in a terminal.

Much of it comes from files of others: names of classes and methods, keys, paths. A terminal obeys
what is no letter in them, so it is shown as an escape, in all that a `Console` is given.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import rich.console
import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of Unicode that terminals obey, or cannot show: controls, formats, lone surrogates."""

JOINERS = "\u200c\u200d"
"""Formats that words of some languages, and emoji, are written with."""


class Console(rich.console.Console):
    """A console that shows what terminals obey, in the texts that it is given, as escapes.

    Arguments:
        options: as of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"emoji": False, **options})  # a class may be called ":x:"

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as it is shown; every text, and every cell of a table, comes through here.

        Arguments:
            text: what is shown.
            options: as of `rich.console.Console`.
        """
        return super().render_str(visible(text), **options)


def visible(text: str, *, but: str = "") -> str:
    r"""Return a text in which what a terminal obeys is an escape, as in Python: `\x1b`.

    Arguments:
        text: any.
        but: what is left as it is.

    Example:
        >>> from dynaprune.cli.terminal import visible
        >>> print(visible("\x1b[31mred\u202e"))
        \x1b[31mred\u202e
    """
    allowed = JOINERS + but
    return "".join(
        each
        if unicodedata.category(each) not in OBEYED or each in allowed
        else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def failed(command: str, error: Exception) -> typer.Exit:
    """Print what the user has to mend, and return what ends the command."""
    said = visible(str(error), but="\n")
    message = Text.assemble((f"dynaprune {command}: ", "red"), said)  # as text: no markup
    Console(stderr=True, soft_wrap=True).print(message)
    return typer.Exit(2)


def progress_of_runs(console: rich.console.Console) -> Progress:
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
