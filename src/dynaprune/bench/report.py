"""The report on results: tables in Markdown and plots, one section per task and regime."""

from __future__ import annotations

from pathlib import Path

from .figures import draw_quality
from .results import Results
from .sections import Section, sections_of
from .statistics import MIN_SEEDS
from .tables import HOW_TO_READ_SIGNS, about, details, matrix, overview, scoreboard

REPORT = "report.md"


def write_report(results: Results, folder: Path) -> Path:
    """Write `report.md` and one plot per section into a folder, and return the report's path.

    Raises:
        ValueError: a result has an unknown variant or regime.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections = sections_of(results)
    parts = ["# What pruning saved, and what it cost\n", HOW_TO_READ, overview(sections)]
    if len(sections) > 1:
        parts += ["## All tasks together\n", HOW_TO_READ_TOGETHER, scoreboard(sections)]
    for section, name in zip(sections, draw_all(sections, folder), strict=True):
        parts += [
            f"## {section.title}\n",
            about(section),
            matrix(section),
            HOW_TO_READ_SIGNS,
            details(section),
            f"![{section.task['metric']} over sample visits: {section.title}]({name})\n",
        ]
    path = folder / REPORT
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def draw_all(sections: list[Section], folder: Path) -> list[str]:
    """Draw one plot per section into a folder, and return the names of the files."""
    names: list[str] = []
    for section in sections:
        names.append(_file_name(section, names))
        picture = f"{section.task['model']} on {section.task['dataset']}: {section.title}"
        draw_quality(folder / names[-1], picture, section.task, section.rows)
    return names


HOW_TO_READ_TOGETHER = """\
The number of tasks and regimes with each verdict, and the mean difference over tasks in units of
their margins, with 95% intervals over tasks. "Better / worse" counts the tasks in which the whole
95% interval of the difference to a baseline is above, or below, zero; by chance alone this happens
in one of forty tasks each.
"""

HOW_TO_READ = f"""\
Each variant of training is compared with full training of the same seed, with the same data and
initial weights. Means have 95% intervals over seeds. **Lossless**: a one-sided test at 5% shows
that the loss of quality is below the task's margin, which was set beforehand. **Loses**: a test
shows that it is above the margin. **Undecided**: the seeds show neither, or there are fewer than
{MIN_SEEDS}. `fewer-epochs` and `random` make the same number of sample visits without any score: a
variant that does not beat both is not worth its scores. Visits saved are those of the whole run.
Seconds are the wall-clock time of training alone. Differences are positive where a variant is
better.
"""


def _file_name(section: Section, taken: list[str]) -> str:
    base = "-".join(p for p in (section.task["name"], section.regime) if p != "as-is")
    name, number = f"{base}.png", 1
    while name in taken:  # the same task with another recipe
        number += 1
        name = f"{base}-{number}.png"
    return name
