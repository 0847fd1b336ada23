"""Tables of trainings of full length, beside brief ones of the same tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from full_length import ALIKE, ALIKE_FROM, BUDGETS, COMPARED
from length_search import Found
from matplotlib.figure import Figure

from dynaprune.bench.comparison import Row
from dynaprune.bench.sections import Section
from dynaprune.bench.statistics import MIN_SEEDS, Mean, Verdict, mean_of
from dynaprune.bench.tables import overview, scale_of, scoreboard
from dynaprune.bench.variants import VARIANTS

WITH_BUDGET = tuple(variant for variant in COMPARED if VARIANTS[variant].has_budget)

OWN_BUDGET = {
    "skip-converged": "SkipConverged on true losses",
    "random-auto": 'RandomPrune(saving="auto")',
}
"""The variants that find their budget, and their names in the picture."""

SIGNS = {Verdict.LOSSLESS: " ✓", Verdict.LOSES: " ✗", Verdict.UNDECIDED: "", None: ""}

DRAWN = {
    "fewer-epochs": "fewer epochs",
    "random": "RandomPrune",
    "bls-infobatch": "InfoBatch on BLS",
    "bls-seta": "SeTa on BLS",
}
"""The variants with a budget that the picture shows, and their names there."""


def length_parts(
    brief: Sequence[Section], full: Sequence[Section], found: Mapping[str, Found]
) -> dict[str, str]:
    """Return the generated parts of the page by name.

    Arguments:
        brief: the results with the brief recipes, of tasks on the data as they are.
        full: those with the recipes of full length.
        found: what the searches for these recipes came to, by task.
    """
    pairs = both_lengths(brief, full)
    complete = [longer for _, longer in pairs]
    return {
        "lengths": lengths_table(pairs),
        "own-budgets": own_budgets_tables(pairs),
        "full-recipes": recipes_table(found, brief),
        "full-overview": overview(complete).partition("\n\n")[2],
        "full-together": scoreboard(complete),
    }


def both_lengths(
    brief: Sequence[Section], full: Sequence[Section]
) -> list[tuple[Section, Section]]:
    """Return the results of the tasks whose runs at full length are complete."""
    by_name = {section.task["name"]: section for section in brief}
    return [
        (by_name[section.task["name"]], section)
        for section in full
        if is_complete(section) and section.task["name"] in by_name
    ]


def is_complete(section: Section) -> bool:
    """Whether all variants that the task allows have enough seeds at both budgets."""
    rows = {(row.variant, row.budget): row for row in section.rows}
    # losses of single samples are the only thing that a task may lack
    needed = [("bls-seta", budget) for budget in BUDGETS] + [("random-auto", 0.0)]
    return all(each in rows and rows[each].compared >= MIN_SEEDS for each in needed)


def lengths_table(pairs: Sequence[tuple[Section, Section]]) -> str:
    """Return how many tasks each variant is lossless on, and its cost, at both lengths."""
    lines = [
        "| variant | saved % | brief: lossless / loses | − full training | "
        "full length: lossless / loses | − full training | − random |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for variant, budget in [(v, b) for b in BUDGETS for v in WITH_BUDGET]:
        lines.append(_lengths_row(variant, f"{100 * budget:.0f}", pairs, variant, budget))
    for variant in OWN_BUDGET:
        shares = [
            f"{100 * mean_of(found).value:.0f}"
            for length in (0, 1)
            if (found := [r.visits_saved.value for _, r in _rows(pairs, length, variant, 0.0)])
        ]
        lines.append(_lengths_row(variant, ", ".join(shares), pairs, variant, 0.0))
    return "\n".join(lines) + "\n"


def _lengths_row(
    name: str, saved: str, pairs: Sequence[tuple[Section, Section]], variant: str, budget: float
) -> str:
    cells = [name, saved]
    for length in (0, 1):
        rows = _rows(pairs, length, variant, budget)
        verdicts = [row.verdict for _, row in rows]
        counts = [verdicts.count(verdict) for verdict in (Verdict.LOSSLESS, Verdict.LOSES)]
        cells.append(f"{counts[0]} / {counts[1]} of {len(rows)}" if rows else "")
        cells.append(_text(_in_margins(rows)))
    cells.append(_text(_in_margins(rows, lambda row: row.against.get("random"))))
    return f"| {' | '.join(cells)} |"


def _rows(
    pairs: Sequence[tuple[Section, Section]], length: int, variant: str, budget: float
) -> list[tuple[Section, Row]]:
    """Return the results of a variant: of brief trainings if `length` is 0, else of full ones.

    Where variants choose alike, brief trainings were run with one of them only.
    """
    names = ALIKE if variant in ALIKE and budget >= ALIKE_FROM else (variant,)
    found = []
    for pair in pairs:
        rows = {row.variant: row for row in pair[length].rows if row.budget == budget}
        known = [rows[name] for name in (variant, *names) if name in rows]
        found += [(pair[length], row) for row in known[:1]]
    return found


def _text(margins: Sequence[float]) -> str:
    return mean_of(margins).text(digits=1, sign=True) if len(margins) > 1 else ""


def _in_margins(
    rows: Sequence[tuple[Section, Row]],
    of: Callable[[Row], Mean | None] = lambda row: row.against_full,
) -> list[float]:
    """Return a mean of each task's row in units of the task's margin, where there is one."""
    return [
        mean.value / section.task["margin"]
        for section, row in rows
        if (mean := of(row)) is not None
    ]


def by_length(brief: str, full: str) -> str:
    """Return two tables below each other; side by side they are too wide for a page."""
    return f"**Brief trainings**\n\n{brief}\n**Full length**\n\n{full}"


def own_budgets_tables(pairs: Sequence[tuple[Section, Section]]) -> str:
    """Return what the variants that find their budget save and lose on each task."""
    return by_length(*(_own_budgets_table([pair[length] for pair in pairs]) for length in (0, 1)))


def _own_budgets_table(sections: Sequence[Section]) -> str:
    lines = [
        f"| task | {' | '.join(f'{variant}: saved % | − full' for variant in OWN_BUDGET)} |",
        f"| --- |{' ---: | ---: |' * len(OWN_BUDGET)}",
    ]
    for section in sections:
        cells = [section.task["name"]]
        scale, digits = scale_of(section)
        rows = {row.variant: row for row in section.rows if row.budget == 0.0}
        for variant in OWN_BUDGET:
            row = rows.get(variant)
            if row is None or row.against_full is None:
                cells += ["", ""]
                continue
            sign = SIGNS[row.verdict]
            cells.append(f"{100 * row.visits_saved.value:.0f}")
            cells.append(row.against_full.text(scale, digits, sign=True) + sign)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def recipes_table(found: Mapping[str, Found], brief: Sequence[Section]) -> str:
    """Return the recipes of full length, and what the last doubling of the epochs gained."""
    lines = [
        "| task | kind | epochs, brief | epochs, full | learning rate | last doubling, margins | "
        "saturates | seconds a run |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    by_name = {section.task["name"]: section for section in brief}
    for name, each in found.items():
        section, last = by_name[name], each.steps[-1]
        ends = "yes" if each.is_sure else "within the noise"
        cells = [
            name,
            section.task["kind"],
            str(section.recipe["epochs"]),
            str(each.recipe.epochs),
            f"{each.recipe.learning_rate:g}",
            f"{last.gain:+.1f} ± {last.error:.1f}",
            ends if each.saturates else "no",
            f"{each.seconds:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw_lengths(pairs: Sequence[tuple[Section, Section]], path: Path) -> None:
    """Draw the cost of each variant over the visits it saves, at both lengths."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("Brief trainings", "Trainings of full length")
    for length, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        panel.axhspan(-1, 1, color="0.93")
        panel.axhline(0, color="0.6", linewidth=0.8)
        for place, (variant, label) in enumerate(DRAWN.items()):
            found = [_rows(pairs, length, variant, budget) for budget in BUDGETS]
            means = [mean_of(_in_margins(rows)) for rows in found]
            shift = 0.6 * (place - (len(DRAWN) - 1) / 2)
            panel.errorbar(
                [100 * budget + shift for budget in BUDGETS],
                [mean.value for mean in means],
                [mean.half_width for mean in means],
                label=label,
                marker="o",
                linewidth=1.2,
                capsize=2,
            )
        for (variant, label), color in zip(OWN_BUDGET.items(), ("black", "magenta"), strict=True):
            rows = _rows(pairs, length, variant, 0.0)
            if len(rows) > 1:
                mean = mean_of(_in_margins(rows))
                saved = mean_of([row.visits_saved.value for _, row in rows])
                panel.errorbar(
                    [100 * saved.value], [mean.value], [mean.half_width],
                    label=label, marker="D", color=color, linestyle="none", capsize=2,
                )  # fmt: skip
        panel.set_title(f"{title}, {len(pairs)} tasks")
        panel.set_xlabel("sample visits saved, %")
        panel.set_xlim(0, 58)
    panels[0].set_ylabel("difference to full training,\nin margins")
    panels[1].legend(fontsize="x-small", loc="lower left")
    figure.savefig(path, dpi=120)
