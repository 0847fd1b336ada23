"""Terminal output that is safe to show.

Much of it comes from files of others: names of classes and methods, keys, paths. Control characters
in them could change the terminal, so a `Console` shows them as escapes.
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
"""Unicode categories that control terminals or cannot be shown: controls, formats, surrogates."""

JOINERS = "\u200c\u200d"
"""Format characters that are part of words in some languages, and of emoji."""


class Console(rich.console.Console):
    """A console that shows control characters in its texts as escapes.

    Arguments:
        options: see `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"emoji": False, **options})  # a class may be named ":x:"

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as it is shown; rich calls this for every text and every table cell.

        Arguments:
            text: the text to show.
            options: see `rich.console.Console`.
        """
        return super().render_str(visible(text), **options)


def visible(text: str, *, but: str = "") -> str:
    r"""Return a text with control characters replaced by escapes, as in Python: `\x1b`.

    Arguments:
        text: any text.
        but: characters that are left unchanged.

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
    """Print an error that the user can fix, and return the exception that ends the command."""
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
