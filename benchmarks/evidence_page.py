"""The tables and pictures of docs/evidence.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from evidence_signs import signs_tables

from dynaprune.bench.report import draw_all
from dynaprune.bench.results import Results
from dynaprune.bench.sections import Section, sections_of
from dynaprune.bench.tables import about, matrix, overview, scale_of, scoreboard
from dynaprune.bench.ways import BASELINES, FULL, WAYS

PAGE = Path(__file__).parents[1] / "docs" / "evidence.md"
PICTURES = PAGE.parent / "images" / "evidence"

EVERYWHERE = (
    FULL,
    *BASELINES,
    "infobatch",
    "seta",
    "bls-infobatch",
    "bls-seta",
    "kalman-infobatch",
    "slices-infobatch",
)
"""The ways that all tasks were trained in."""

CONTROL = "drawn-infobatch"

IN_SECONDS = 0.5
"""The budget whose seconds are shown."""

IN_SETTINGS = 0.4
"""The budget at which kinds of waste are compared."""


def fill(results: Results) -> None:
    """Bring the tables and pictures of docs/evidence.md up to date."""
    sections = sections_of(results)
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    pictures = draw_all(sections, PICTURES)
    as_is = [
        replace(section, rows=[row for row in section.rows if row.way in EVERYWHERE])
        for section in sections
        if section.regime == "as-is"
    ]
    parts = {
        "seeds": seeds_line(sections),
        "overview": overview(as_is).partition("\n\n")[2],
        "together": scoreboard(as_is),
        "seconds": seconds_table(as_is),
        "regimes": regimes_table(sections),
        "signs": signs_tables(sections),
        "tasks": "\n".join(
            f"### {section.title}\n\n{about(section)}\n{matrix(section)}\n"
            f"![{section.task['metric']} against sample visits: {section.title}]"
            f"({PICTURES.relative_to(PAGE.parent)}/{picture})\n"
            for section, picture in zip(sections, pictures, strict=True)
        ),
    }
    text = PAGE.read_text(encoding="utf-8")
    for name, part in parts.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}{part}{end}{after}"
    PAGE.write_text(text, encoding="utf-8")


def seeds_line(sections: list[Section]) -> str:
    """Return how many runs and seeds there are."""
    seeds = [row.seeds for section in sections for row in section.rows]
    runs = sum(len(section.lines) for section in sections)
    settings = sum(section.regime != "as-is" for section in sections)
    return (
        f"{runs:,} runs of {len(sections) - settings} tasks and {settings} settings, "
        f"{min(seeds)} to {max(seeds)} seeds each.\n"
    )


def seconds_table(sections: list[Section]) -> str:
    """Return the table of wall-clock saved where half of the visits are."""
    ways = [way for way in WAYS if way in (*BASELINES, "infobatch", "bls-infobatch", "bls-seta")]
    lines = [
        f"| task | full training, s | {' | '.join(ways)} |",
        f"| --- | ---: |{' ---: |' * len(ways)}",
    ]
    for section in sections:
        saved = {r.way: r.seconds_saved for r in section.rows if r.budget == IN_SECONDS}
        spent = [line["seconds"] for line in section.lines if line["way"] == FULL]
        cells = ["" if (s := saved.get(w)) is None else f"{100 * s.value:.0f}%" for w in ways]
        full = f"{np.median(spent):.1f}" if spent else ""
        lines.append(f"| {section.title} | {full} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def regimes_table(sections: list[Section]) -> str:
    """Return, for each kind of waste, how ways compare where 40% of the visits are saved."""
    lines = [
        "| setting | full training | − full: fewer epochs | random | weights alone | "
        "the best with scores | which | − fewer epochs | − random |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    changed = {section.task["name"] for section in sections if section.regime != "as-is"}
    for section in sections:
        if section.task["name"] not in changed:
            continue
        scale, digits = scale_of(section)
        rows = {row.way: row for row in section.rows if row.budget == IN_SETTINGS}
        full = next(row for row in section.rows if row.way == FULL)
        scored = [
            row
            for way, row in rows.items()
            if way not in (*BASELINES, CONTROL) and row.against_full
        ]
        if not scored or any(baseline not in rows for baseline in BASELINES):
            continue
        best = max(scored, key=lambda row: row.against_full.value if row.against_full else 0)
        others = [rows[way].against_full if way in rows else None for way in (*BASELINES, CONTROL)]
        shown = [*others, best.against_full]
        against = [best.against.get(baseline) for baseline in BASELINES]
        cells = ["" if m is None else m.text(scale, digits, sign=True) for m in (*shown, *against)]
        cells.insert(4, best.way)
        lines.append(
            f"| {section.title} | {full.quality.text(scale, digits)} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"
