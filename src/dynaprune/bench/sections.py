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
    """

    task: dict[str, Any]
    regime: str
    recipe: dict[str, Any]
    rows: list[Row]
    lines: list[Line]

    @property
    def title(self) -> str:
        """The task's name, and the regime where something was done to it."""
        name = str(self.task["name"])
        return name if self.regime == "as-is" else f"{name}, {self.regime}"


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
    return [
        Section(
            lines[0]["about"],
            lines[0]["regime"],
            lines[0]["recipe"],
            compare(lines, lines[0]["about"]["margin"], lines[0]["about"]["higher_is_better"]),
            lines,
        )
        for lines in groups.values()
    ]
