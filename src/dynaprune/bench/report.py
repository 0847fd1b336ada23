"""What results say: tables in Markdown and pictures, a section for each task and regime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .comparison import Line, Row, compare, lossless_budget
from .figures import draw_quality
from .regimes import REGIMES
from .results import Results
from .statistics import MIN_SEEDS, Mean, Verdict
from .ways import BASELINES, FULL, WAYS

REPORT = "report.md"


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
    """Return the results by task, regime and recipe, in the order in which they were begun."""
    groups: dict[str, list[Line]] = {}
    for line in results.lines:
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


def write_report(results: Results, folder: Path) -> Path:
    """Write `report.md` and a picture a section into a folder, and return the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = sections_of(results)
    parts = ["# What pruning saved, and what it cost\n", HOW_TO_READ, overview(sections)]
    names: set[str] = set()
    for section in sections:
        name = _file_name(section, names)
        picture = f"{section.task['model']} on {section.task['dataset']}: {section.title}"
        draw_quality(folder / name, picture, str(section.task["metric"]), section.rows)
        parts.append(_section(section, name))
    path = folder / REPORT
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


HOW_TO_READ = f"""\
Each way of training is compared with full training of the same seed: data and initial weights are
the same. Means have 95% intervals over seeds. **Lossless** says that a
one-sided test at 5% shows the loss to be below the task's margin, set beforehand; **loses** that it
shows it to be above; what the seeds do not show, and all with fewer than {MIN_SEEDS} of them, is
**undecided**. `fewer-epochs` and `random` make as many sample visits without any score: a way that
does not beat both saves nothing that they would not. Visits saved are those of the whole run;
seconds are wall-clock, of training alone. Differences are positive where a way is better.
"""


def overview(sections: Sequence[Section]) -> str:
    """Return the table of the largest lossless saving of each task and way."""
    ways = [w for w in WAYS if w != FULL and any(r.way == w for s in sections for r in s.rows)]
    if not ways:
        return ""
    lines = [
        "## The largest lossless saving\n",
        "Of sample visits, in %; 0 where not even the smallest budget is shown to be lossless, and "
        "in brackets where no score is needed for it: a baseline is lossless at as much.\n",
        f"| task | {' | '.join(ways)} |",
        f"| --- |{' ---: |' * len(ways)}",
    ]
    for section in sections:
        best = {way: lossless_budget(section.rows, way) for way in ways}
        without = max(
            (row.visits_saved.value for b in BASELINES if (row := best.get(b)) is not None),
            default=0.0,
        )
        cells = []
        for way in ways:
            row = best[way]
            if all(r.way != way for r in section.rows):
                cells.append("")
            elif row is None:
                cells.append("0")
            else:
                saved = row.visits_saved.value
                needs_none = way not in BASELINES and saved <= without + 1e-3
                cells.append(f"({100 * saved:.0f})" if needs_none else f"{100 * saved:.0f}")
        lines.append(f"| {section.title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _section(section: Section, picture: str) -> str:
    task, recipe = section.task, section.recipe
    scale, digits = (100, 1) if task["in_percent"] else (1, 3)
    unit = " %" if scale == 100 else ""
    better = "" if task["higher_is_better"] else ", lower is better"
    margin = f"{scale * task['margin']:g}{unit and ' points'}"
    lines = [
        f"## {section.title}\n",
        f"{task['kind'].capitalize()}: {task['model']} on {task['dataset']}, "
        f"{section.lines[0]['full_visits'] // recipe['epochs']:,} samples, {recipe['epochs']} "
        f"epochs, batches of {recipe['batch_size']}, {recipe['optimizer']}. "
        f"{REGIMES[section.regime].about.capitalize()}. "
        f"Margin: {margin} of {task['metric']}{better}.\n",
        f"| way | visits saved % | {task['metric']}{unit} | against full | − fewer epochs | "
        "− random | seconds saved % | verdict | seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |",
        *(_row(row, scale, digits) for row in section.rows),
        f"\n![{task['metric']} against sample visits: {section.title}]({picture})\n",
    ]
    return "\n".join(lines)


def _row(row: Row, scale: float, digits: int) -> str:
    def difference(mean: Mean | None) -> str:
        return "" if mean is None else mean.text(scale, digits, sign=True)

    cells = [
        row.way,
        f"{100 * row.visits_saved.value:.1f}",
        row.quality.text(scale, digits),
        difference(row.against_full),
        *(difference(row.against.get(baseline)) for baseline in BASELINES),
        "" if row.seconds_saved is None else f"{100 * row.seconds_saved.value:.1f}",
        _verdict(row.verdict),
        str(row.seeds),
    ]
    return f"| {' | '.join(cells)} |"


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    return verdict.value if verdict is Verdict.UNDECIDED else f"**{verdict.value}**"


def _file_name(section: Section, taken: set[str]) -> str:
    base = "-".join(p for p in (section.task["name"], section.regime) if p != "as-is")
    name, number = f"{base}.png", 1
    while name in taken:  # another recipe
        number += 1
        name = f"{base}-{number}.png"
    taken.add(name)
    return name
