"""The commands of `dynaprune` that README and the pages in docs/ show."""

from __future__ import annotations

import re
import shlex
from functools import cache

import typer
from repository import ROOT

from dynaprune.cli.app import app


def shown_on_pages() -> list[str]:
    """Return all texts that follow `dynaprune` in a shell block or as code, without comments."""
    shown: set[str] = set()
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = page.read_text()
        for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
            lines = block.replace("&&", "\n")
            shown |= set(
                re.findall(r"^\s*(?:\S*/)?dynaprune (.*?)\s*(?:#.*)?$", lines, re.MULTILINE)
            )
        shown |= {" ".join(each.split()) for each in re.findall(r"`dynaprune ([^`]+)`", text)}
    return sorted(shown)


@cache
def needs_arguments() -> dict[str, bool]:
    """Return all commands by name, such as "bench run", and whether they need an argument."""
    found, todo = {}, {"": typer.main.get_command(app)}
    while todo:
        name, command = todo.popitem()
        inner = getattr(command, "commands", {})
        todo |= {f"{name} {each}".strip(): inner[each] for each in inner}
        if not inner:
            found[name] = any(each.required for each in command.params)
    return found


def command_in(text: str) -> str | None:
    """Return the name of the command that a text calls, or None if it only mentions one."""
    for name, needed in needs_arguments().items():
        words, own = shlex.split(text), name.split()
        if words[: len(own)] == own and (len(words) > len(own) or not needed):
            return name
    return None


WHOLE = [text for text in shown_on_pages() if command_in(text)]
"""Commands that a user can copy; other texts on pages only mention a command by its name."""
