"""What variants that choose their own budget save and cost, and where at worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scores_table import differences
from unasked_table import UNASKED, saved_and_cost

from dynaprune.bench.comparison import Row
from dynaprune.bench.sections import Section
from dynaprune.bench.statistics import MIN_SEEDS, Verdict, mean_of
from dynaprune.methods._budget import LOSS_SHARE  # also the default of SkipConverged

RANDOM_AUTO = "random-auto"

FROM_BATCHES = (
    RANDOM_AUTO,
    "drawn-infobatch-auto",
    "infobatch-auto",
    "bls-infobatch-auto",
    "slices-infobatch-auto",
    "bls-seta-auto",
    "slices-lowest-auto",
)
"""They read how much to skip from one number a batch."""


def automatic_table(sections: Sequence[Section], others: Mapping[float, Sequence[Section]]) -> str:
    """Return the table of one length of training.

    Arguments:
        sections: the results of all variants.
        others: those at other shares of the loss, by share.
    """
    lines = [
        "| loss % | variant | saved % | − full | − random-auto | lossless / loses | worst |",
        "| ---: | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    settings = {LOSS_SHARE: sections, **others}
    for loss_share in sorted(settings, reverse=True):
        for variant in (UNASKED, *FROM_BATCHES):
            cells = _cells(settings[loss_share], variant)
            if cells:
                lines.append(f"| {100 * loss_share:.0f} | {variant} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cells(sections: Sequence[Section], variant: str) -> list[str]:
    """Return what a variant saves and costs over the tasks, in margins; nothing without results."""
    found = saved_and_cost(sections, variant, 0.0)
    if len(found) < 2:
        return []
    gains = [d for section in sections if (d := differences(section, variant, RANDOM_AUTO, 0.0))]
    gain = mean_of([mean_of(d).value for d in gains]) if len(gains) > 1 else None
    worst = min(found, key=lambda title: found[title][1])
    rows = [row for section in sections for row in section.rows if _is_tested(row, variant)]
    verdicts = [row.verdict for row in rows]
    lossless, loses = (verdicts.count(each) for each in (Verdict.LOSSLESS, Verdict.LOSES))
    return [
        f"{100 * mean_of([saved for saved, _ in found.values()]).value:.0f}",
        mean_of([cost for _, cost in found.values()]).text(digits=1, sign=True),
        "" if gain is None or variant == RANDOM_AUTO else gain.text(digits=1, sign=True),
        f"{lossless} / {loses} of {len(rows)}" if rows else f"– of {len(found)}",
        f"{worst} {found[worst][1]:+.1f}",
    ]


def _is_tested(row: Row, variant: str) -> bool:
    return row.variant == variant and row.budget == 0.0 and row.compared >= MIN_SEEDS
