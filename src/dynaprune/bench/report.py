"""What results say: tables in Markdown and pictures, a section for each task and regime."""

from __future__ import annotations

from pathlib import Path

from .figures import draw_quality
from .results import Results
from .sections import Section, sections_of
from .statistics import MIN_SEEDS
from .tables import HOW_TO_READ_SIGNS, about, details, matrix, overview, scoreboard

REPORT = "report.md"


def write_report(results: Results, folder: Path) -> Path:
    """Write `report.md` and a picture a section into a folder, and return the report's path.

    Raises:
        ValueError: a result is of a way or a regime that there is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections = sections_of(results)
    parts = ["# What pruning saved, and what it cost\n", HOW_TO_READ, overview(sections)]
    if len(sections) > 1:
        parts += ["## All of them together\n", HOW_TO_READ_TOGETHER, scoreboard(sections)]
    for section, name in zip(sections, draw_all(sections, folder), strict=True):
        parts += [
            f"## {section.title}\n",
            about(section),
            matrix(section),
            HOW_TO_READ_SIGNS,
            details(section),
            f"![{section.task['metric']} against sample visits: {section.title}]({name})\n",
        ]
    path = folder / REPORT
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def draw_all(sections: list[Section], folder: Path) -> list[str]:
    """Draw a picture a section into a folder, and return their names."""
    names: list[str] = []
    for section in sections:
        names.append(_file_name(section, names))
        picture = f"{section.task['model']} on {section.task['dataset']}: {section.title}"
        draw_quality(folder / names[-1], picture, section.task, section.rows)
    return names


HOW_TO_READ_TOGETHER = """\
How many of the tasks and regimes have each verdict, and mean differences over them, in margins of
each, with 95% intervals over tasks; in how many a way is better or worse than a baseline, which is
where all of the 95% interval of the difference is above, or below, zero: by chance that is one in
forty each.
"""

HOW_TO_READ = f"""\
Each way of training is compared with full training of the same seed: data and initial weights are
the same. Means have 95% intervals over seeds. **Lossless** says that a
one-sided test at 5% shows the loss to be below the task's margin, set beforehand; **loses** that it
shows it to be above; what the seeds do not show, and all with fewer than {MIN_SEEDS} of them, is
**undecided**. `fewer-epochs` and `random` make as many sample visits without any score: a way that
does not beat both saves nothing that they would not. Visits saved are those of the whole run;
seconds are wall-clock, of training alone. Differences are positive where a way is better.
"""


def _file_name(section: Section, taken: list[str]) -> str:
    base = "-".join(p for p in (section.task["name"], section.regime) if p != "as-is")
    name, number = f"{base}.png", 1
    while name in taken:  # another recipe
        number += 1
        name = f"{base}-{number}.png"
    return name
