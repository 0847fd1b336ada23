"""Results as tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .comparison import Row, lossless_budget
from .regimes import REGIMES
from .scoreboard import Against, score_variants
from .sections import Section
from .signs import shown_by
from .statistics import MIN_SEEDS, Mean, Verdict
from .variants import BASELINES, FULL, VARIANTS


def overview(sections: Sequence[Section]) -> str:
    """Return the table of the largest lossless saving of each task and variant."""
    variants = [
        w for w in VARIANTS if w != FULL and any(r.variant == w for s in sections for r in s.rows)
    ]
    if not variants:
        return ""
    lines = [
        "## The largest lossless saving\n",
        "The largest budget that is shown to be lossless together with all smaller ones, in % of "
        "sample visits; 0 if not even the smallest budget is. Parentheses: a baseline is lossless "
        f"at the same saving, so no score is needed. A dash: fewer than {MIN_SEEDS} seeds.\n",
        f"| task | {' | '.join(variants)} |",
        f"| --- |{' ---: |' * len(variants)}",
    ]
    for section in sections:
        best = {variant: lossless_budget(section.rows, variant) for variant in variants}
        without = max(
            (row.visits_saved.value for b in BASELINES if (row := best.get(b)) is not None),
            default=0.0,
        )
        cells = []
        for variant in variants:
            row = best[variant]
            if all(r.variant != variant for r in section.rows):
                cells.append("")
            elif row is None:
                enough = any(r.compared >= MIN_SEEDS for r in section.rows if r.variant == variant)
                cells.append("0" if enough else "–")
            else:
                saved = row.visits_saved.value
                needs_none = variant not in BASELINES and saved <= without + 1e-3
                cells.append(f"({100 * saved:.0f})" if needs_none else f"{100 * saved:.0f}")
        lines.append(f"| {section.title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def scoreboard(sections: Sequence[Section]) -> str:
    """Return the table of the results of each variant and budget over all sections."""
    scores = score_variants((float(section.task["margin"]), section.rows) for section in sections)
    lines = [
        "| variant | budget % | lossless | undecided | loses | − full training | − fewer epochs | "
        "better / worse | − random | better / worse |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for score in scores:
        verdicts = (Verdict.LOSSLESS, Verdict.UNDECIDED, Verdict.LOSES)
        cells = [
            score.variant,
            f"{100 * score.budget:.0f}" if VARIANTS[score.variant].has_budget else "",
            *(str(score.verdicts[v]) if score.is_tested else "–" for v in verdicts),
            "" if score.against_full is None else score.against_full.text(1, 1, sign=True),
        ]
        for baseline in BASELINES:
            against = score.against.get(baseline)
            cells += ["", ""] if against is None else _both(against, score.is_tested)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _both(against: Against, is_tested: bool) -> list[str]:
    counts = f"{against.better} / {against.worse}" if is_tested else "–"
    return [against.margins.text(1, 1, sign=True), counts]


def about(section: Section) -> str:
    """Return a short description of a section's task, data and full training."""
    task, recipe = section.task, section.recipe
    scale, _ = scale_of(section)
    better = "" if task["higher_is_better"] else ", lower is better"
    margin = f"{scale * task['margin']:g}"
    if task["in_percent"]:
        margin += " point" if margin == "1" else " points"
    full = next((row for row in section.rows if row.variant == FULL), None)
    reached = "" if full is None else f"; full training reaches {_quality(section, full)}"
    about = REGIMES[section.regime].about
    return (
        f"{task['kind'].capitalize()}: {task['model']} on {task['dataset']}, "
        f"{_samples(section):,} samples, {recipe['epochs']} "
        f"epochs, batches of {recipe['batch_size']}, {recipe['optimizer']}. "
        f"{about[:1].upper()}{about[1:]}. "
        f"Margin: {margin} of {task['metric']}{better}{reached}.{_signs(section)}\n"
    )


def _samples(section: Section) -> int:
    """Return the size of the training set, which older results do not contain."""
    line = section.lines[0]
    return int(line.get("samples", line["full_visits"] // section.recipe["epochs"]))


def _signs(section: Section) -> str:
    """Return the signs of full training that tell whether visits are wasted."""
    task = section.task
    shown = shown_by(section.lines, task["higher_is_better"])
    if shown is None or math.isnan(shown.rise):
        return ""
    scale, digits = scale_of(section)
    unit = " points" if task["in_percent"] else ""
    found = (
        f" In the second half its {task['metric']} "
        f"{'got worse' if shown.rise < 0 else 'improved'} by "
        f"{scale * abs(shown.rise):.{digits}f}{unit}"
    )
    if math.isnan(shown.learned):
        return f"{found}."
    return f"{found}; at half, {shown.learned:.0%} of the samples held 5% of all loss."


def matrix(section: Section) -> str:
    """Return the table of differences to full training: one row per variant, column per budget."""
    budgets = sorted({row.budget for row in section.rows if VARIANTS[row.variant].has_budget})
    rows = [row for row in section.rows if row.variant != FULL]
    has_own = any(not VARIANTS[row.variant].has_budget for row in rows)
    columns = [f"{100 * budget:.0f}% saved" for budget in budgets] + ["own saving"] * has_own
    lines = [f"| − full training | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for variant in dict.fromkeys(row.variant for row in rows):
        mine = {row.budget: row for row in rows if row.variant == variant}
        cells = [cell(section, mine.get(budget)) for budget in budgets]
        if has_own:
            cells.append(
                "" if VARIANTS[variant].has_budget else cell(section, mine.get(0.0), own=True)
            )
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


SIGNS = {Verdict.LOSSLESS: " ✓", Verdict.LOSES: " ✗", Verdict.UNDECIDED: "", None: ""}
HOW_TO_READ_SIGNS = """\
✓ lossless, ✗ loses, no sign: undecided; ▲ better than both baselines at the same number of visits,
▼ worse than one of them: the whole 95% interval of the difference is above, or below, zero.
"""


def cell(section: Section, row: Row | None, *, own: bool = False) -> str:
    """Return a difference to full training with its signs; `own` adds the share of visits saved."""
    if row is None or row.verdict is None:
        return ""
    mean = row.against_full
    text = "diverged" if mean is None else mean.text(*scale_of(section), sign=True)
    text += SIGNS[row.verdict]
    if all(row.is_better(baseline) for baseline in BASELINES):
        text += " ▲"
    if any(row.is_worse(baseline) for baseline in BASELINES):
        text += " ▼"
    return f"{text} ({100 * row.visits_saved.value:.0f}%)" if own else text


def scale_of(section: Section) -> tuple[float, int]:
    """Return the factor and the number of decimals with which the metric is shown."""
    if section.task["in_percent"]:
        return 100, 1
    return 1, max(1, 1 - math.floor(math.log10(section.task["margin"])))


def _quality(section: Section, row: Row) -> str:
    return row.quality.text(*scale_of(section)) + (" %" if section.task["in_percent"] else "")


def details(section: Section, digits: int | None = None) -> str:
    """Return the table of all results of each variant and budget.

    Arguments:
        section: the results.
        digits: the number of decimals of the metric; by default those of `scale_of`.
    """
    task = section.task
    scale, usual = scale_of(section)
    digits = usual if digits is None else digits
    lines = [
        f"| variant | visits saved % | {task['metric']}{' %' if scale == 100 else ''} | "
        "− full training | − fewer epochs | − random | seconds saved % | verdict | seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |",
        *(_row(row, scale, digits) for row in section.rows),
    ]
    return "\n".join(lines) + "\n"


def _row(row: Row, scale: float, digits: int) -> str:
    def difference(mean: Mean | None) -> str:
        return "" if mean is None else mean.text(scale, digits, sign=True)

    cells = [
        row.variant,
        f"{100 * row.visits_saved.value:.1f}",
        row.quality.text(scale, digits),
        difference(row.against_full),
        *(difference(row.against.get(baseline)) for baseline in BASELINES),
        "" if row.seconds_saved is None else row.seconds_saved.text(100, 0),
        _verdict(row),
        str(row.seeds),
    ]
    return f"| {' | '.join(cells)} |"


def _verdict(row: Row) -> str:
    diverged = f"{row.diverged} of {row.seeds} diverged" if row.diverged else ""
    if row.verdict is None:
        return diverged
    found = row.verdict.value
    shown = found if row.verdict is Verdict.UNDECIDED else f"**{found}**"
    return f"{shown} ({diverged})" if diverged else shown
