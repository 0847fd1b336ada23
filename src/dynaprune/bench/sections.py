"""Results by task, regime and recipe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .comparison import Line, Row, compare
from .regimes import REGIMES
from .results import Results
from .ways import WAYS


@dataclass(frozen=True)
class Section:
    """The results of a task in a regime, by one recipe.

    Attributes:
        task: what `describe` says of it.
        regime: its name.
        recipe: the fields of the recipe.
        rows: a row a way and budget.
        lines: the results.
        title: the task's name, the regime where something was done to it, and what differs from
            the recipes of others of that name.
    """

    task: dict[str, Any]
    regime: str
    recipe: dict[str, Any]
    rows: list[Row]
    lines: list[Line]
    title: str


def sections_of(results: Results) -> list[Section]:
    """Return the results by task, regime and recipe, in the order in which they were begun.

    Raises:
        ValueError: a result is of a way or a regime that there is not.
    """
    groups: dict[str, list[Line]] = {}
    for number, line in enumerate(results.lines, start=1):
        for what, known in (("way", WAYS), ("regime", REGIMES)):
            if line[what] not in known:
                raise ValueError(
                    f"line {number} of {results.path} is of the {what} {line[what]!r}, which this "
                    f"version of dynaprune does not have: it knows {', '.join(known)}"
                )
        key = json.dumps([line["task"], line["regime"], line["recipe"]], sort_keys=True)
        groups.setdefault(key, []).append(line)
    recipes: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for lines in groups.values():
        recipes.setdefault((lines[0]["task"], lines[0]["regime"]), []).append(lines[0]["recipe"])
    sections = []
    for lines in groups.values():
        last = lines[-1]
        task, regime, recipe = last["about"], last["regime"], last["recipe"]
        title = task["name"] if regime == "as-is" else f"{task['name']}, {regime}"
        others = recipes[last["task"], regime]
        differing = [name for name in recipe if any(o.get(name) != recipe[name] for o in others)]
        title = ", ".join(
            [title, *(f"{name.replace('_', ' ')} {recipe[name]}" for name in differing)]
        )
        rows = compare(lines, task["margin"], task["higher_is_better"])
        sections.append(Section(task, regime, recipe, rows, lines, title))
    return sections
