"""Results grouped by task, regime and recipe."""

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
    """The results of a task in one regime, with one recipe.

    Attributes:
        task: the task's attributes, as `Task.describe` returns them.
        regime: the name of the regime.
        recipe: the fields of the recipe.
        rows: one row per variant and budget.
        lines: the results.
        title: the name of the task, that of the regime unless it is `as-is`, and the fields in
            which the recipe differs from those of other sections of this task and regime.
    """

    task: dict[str, Any]
    regime: str
    recipe: dict[str, Any]
    rows: list[Row]
    lines: list[Line]
    title: str


def sections_of(results: Results) -> list[Section]:
    """Return the results by task, regime and recipe, in the order of their first runs.

    Raises:
        ValueError: a result has an unknown variant or regime.
    """
    groups: dict[str, list[Line]] = {}
    for number, line in enumerate(results.lines, start=1):
        for field, kind, known in (("way", "variant", WAYS), ("regime", "regime", REGIMES)):
            if line[field] not in known:
                raise ValueError(
                    f"line {number} of {results.path} has the {kind} {line[field]!r}, which this "
                    f"version of dynaprune does not know: it knows {', '.join(known)}"
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
