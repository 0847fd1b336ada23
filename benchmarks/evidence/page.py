"""Generates the tables and pictures of docs/evidence.md and of the pages in docs/evidence/."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from automatic_table import automatic_table
from gpu_tables import gpu_parts
from length_search import Found
from length_tables import both_lengths, by_length, draw_lengths, length_parts
from loss_shares import at_share
from rates_table import rates_table
from scores_table import scores_table
from signs_tables import signs_tables
from unasked_table import unasked_table

from dynaprune.bench.comparison import Row
from dynaprune.bench.report import draw_all
from dynaprune.bench.results import Results
from dynaprune.bench.sections import Section, sections_of
from dynaprune.bench.statistics import MIN_SEEDS
from dynaprune.bench.tables import about, cell, matrix, overview, scale_of, scoreboard
from dynaprune.bench.variants import BASELINES, DEFAULT, FULL, VARIANTS

sys.path.append(str(Path(__file__).parents[1]))  # where pages.py is
from pages import DOCS, fill_page

PAGES = (DOCS / "evidence.md", *sorted((DOCS / "evidence").glob("*.md")))
PICTURES = DOCS / "images" / "evidence"
LENGTHS = "lengths.png"

SAVED = 0.4
"""The budget of the tables on time and on kinds of waste: the largest one at which most variants
were run."""

FEW_SEEDS = 3
"""Enough for a mean over tasks."""

WITHOUT_BUDGET = ("skip-converged", "slices-skip-converged", "random-auto")

EVERYWHERE = (*DEFAULT, *WITHOUT_BUDGET)
"""The variants with which all tasks are trained."""

IN_SETTINGS_VARIANTS = (
    *BASELINES,
    "drawn-infobatch",
    "infobatch",
    "bls-infobatch",
    "slices-infobatch",
    "equal-infobatch",
    "slices-equal-infobatch",
    "slices-trimmed",
    *WITHOUT_BUDGET,
)


def fill(
    results: Results,
    other_rates: Results,
    timed: Results,
    full_length: Results,
    recipes: Mapping[str, Found],
    loss_shares: Mapping[float, Results],
) -> None:
    """Update the tables and pictures of the pages.

    Arguments:
        results: the results of the main runs.
        other_rates: the results at other learning rates.
        timed: the results of the timed runs.
        full_length: the results with the recipes of full length.
        recipes: what the searches for these came to, by task.
        loss_shares: the results of the automatic budget at other shares of the loss.
    """
    sections = sections_of(results)
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    pictures = draw_all(sections, PICTURES)
    as_is = shown_as_is(sections)
    parts = {
        "seeds": seeds_line(sections),
        "variants": variants_list(sections),
        "overview": overview(as_is).partition("\n\n")[2],
        "together": scoreboard(as_is),
        "unasked": unasked_table(as_is_with(sections, lambda row: row.compared >= MIN_SEEDS)),
        "rates": rates_table(as_is, other_rates.lines),
        "scores": scores_table(as_is),
        "regimes": regimes_table(sections),
        "signs": signs_tables(sections),
        "tasks": "\n".join(
            f"## {section.title}\n\n{about(section)}\n{matrix(section)}\n"
            f"![{section.task['metric']} over sample visits: {section.title}]"
            f"(../{PICTURES.relative_to(DOCS)}/{picture})\n"
            for section, picture in zip(sections, pictures, strict=True)
        ),
    }
    parts |= gpu_parts()
    if timed.lines:
        parts["seconds"] = seconds_table(sections_of(timed))
    longer = sections_of(full_length)
    parts |= length_parts(as_is, longer, recipes)
    draw_lengths(both_lengths(as_is, longer), PICTURES / LENGTHS)
    parts["automatic"] = automatic_part(sections, longer, loss_shares)
    for page in PAGES:
        fill_page(page, parts)


def shown_as_is(sections: Sequence[Section]) -> list[Section]:
    """Return the sections of the data as they are, with the variants that all tasks have."""
    return as_is_with(sections, lambda row: row.variant in EVERYWHERE)


def as_is_with(sections: Sequence[Section], is_shown: Callable[[Row], bool]) -> list[Section]:
    """Return the sections of the data as they are, with some of their rows."""
    return [
        replace(section, rows=[row for row in section.rows if is_shown(row)])
        for section in sections
        if section.regime == "as-is"
    ]


def automatic_part(
    sections: Sequence[Section], longer: Sequence[Section], loss_shares: Mapping[float, Results]
) -> str:
    """Return the tables of variants that choose their own budget, without single runs."""
    tables = []
    for each in (sections, longer):
        shown = as_is_with(each, lambda row: row.compared >= FEW_SEEDS)
        others = {share: at_share(shown, kept) for share, kept in loss_shares.items()}
        tables.append(automatic_table(shown, others))
    return by_length(*tables)


def seeds_line(sections: list[Section]) -> str:
    """Return a sentence with the numbers of runs, tasks and seeds."""
    seeds = [row.seeds for section in sections for row in section.rows]
    runs = sum(len(section.lines) for section in sections)
    settings = sum(section.regime != "as-is" for section in sections)
    return (
        f"{runs:,} runs of {len(sections) - settings} tasks and {settings} changed settings, with "
        f"{' to '.join(map(str, sorted({min(seeds), max(seeds)})))} seeds each.\n"
    )


def variants_list(sections: list[Section]) -> str:
    """Return descriptions of the variants that occur."""
    occurring = {row.variant for section in sections for row in section.rows}
    return "".join(
        f"- `{variant}`: {VARIANTS[variant].about}\n"
        for variant in VARIANTS
        if variant in occurring
    )


def seconds_table(sections: list[Section]) -> str:
    """Return the table of the wall-clock time saved at one budget."""
    saved = {
        section.title: {
            row.variant: row.seconds_saved.value
            for row in section.rows
            if row.budget == SAVED and row.seconds_saved is not None
        }
        for section in sections
    }
    variants = [variant for variant in DEFAULT if any(variant in found for found in saved.values())]
    lines = [
        f"| task | full training, s | {' | '.join(variants)} |",
        f"| --- | ---: |{' ---: |' * len(variants)}",
    ]
    for section in sections:
        spent = [line["seconds"] for line in section.lines if line["variant"] == FULL]
        found = [saved[section.title].get(variant) for variant in variants]
        lines.append(_seconds_row(section.title, f"{np.median(spent):.1f}" if spent else "", found))
    medians = [
        float(np.median([found[w] for found in saved.values() if w in found])) for w in variants
    ]
    return "\n".join([*lines, _seconds_row("**median**", "", medians)]) + "\n"


def _seconds_row(title: str, spent: str, saved: Sequence[float | None]) -> str:
    cells = ["" if share is None else f"{100 * share:.0f}%" for share in saved]
    return f"| {title} | {spent} | {' | '.join(cells)} |"


def regimes_table(sections: list[Section]) -> str:
    """Return the differences to full training at 40% of the visits saved, for each kind of waste.

    For variants without a budget it adds the share that they saved.
    """
    changed = {section.task["name"] for section in sections if section.regime != "as-is"}
    lines = [
        f"| setting | full training % | {' | '.join(IN_SETTINGS_VARIANTS)} |",
        f"| --- | ---: |{' ---: |' * len(IN_SETTINGS_VARIANTS)}",
    ]
    for section in sections:
        if section.task["name"] not in changed:
            continue
        rows = {row.variant: row for row in section.rows if row.budget in (0.0, SAVED)}
        full = next(row for row in section.rows if row.variant == FULL)
        cells = [
            cell(section, rows.get(variant), own=not VARIANTS[variant].has_budget)
            for variant in IN_SETTINGS_VARIANTS
        ]
        quality = full.quality.text(*scale_of(section))
        lines.append(f"| {section.title} | {quality} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
