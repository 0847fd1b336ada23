"""Signs measured during full training, compared with the effects of pruning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from automatic_table import RANDOM_AUTO

from dynaprune.bench.sections import Section
from dynaprune.bench.signs import shown_by
from dynaprune.bench.variants import BASELINES
from dynaprune.diagnostics.advice import FEW, MANY
from dynaprune.diagnostics.estimates import rank_correlation

SAVED = (0.2, 0.3, 0.4)
"""The budgets whose effects are averaged, as far as a setting was run with them."""

VARIANTS = (*BASELINES, "infobatch", "bls-infobatch")

SCORED_AUTO = ("infobatch-auto", "bls-infobatch-auto")

LEARNED = (FEW, MANY)
RISES = (1.0, 5.0)
"""Bounds of the metric's rise, in margins."""


@dataclass(frozen=True)
class Setting:
    """The signs of full training in a setting, and the effects of pruning.

    Attributes:
        title: the title of the setting.
        learned: the share of learned samples at half of the run; see `dynaprune.bench.signs.Shown`.
        rise: the rise of the metric in the second half, in margins.
        fall: the share by which the mean loss fell in the second half.
        effects: the difference to full training by variant, in margins, averaged over the budgets
            below 50%.
        automatic: the same of variants that choose their own budget.
    """

    title: str
    learned: float
    rise: float
    fall: float
    effects: dict[str, float]
    automatic: dict[str, float]

    @property
    def baseline(self) -> float:
        """The effect of the better baseline."""
        return max(self.effects[baseline] for baseline in BASELINES)

    def gain(self, variant: str) -> float:
        """Return how much better a variant is than the better baseline."""
        return self.effects.get(variant, math.nan) - self.baseline


def setting_of(section: Section) -> Setting | None:
    """Return the signs and effects of a section, `None` if it lacks signs or baselines."""
    margin = section.task["margin"]
    shown = shown_by(section.lines, section.task["higher_is_better"])
    effects: dict[str, list[float]] = {}
    automatic: dict[str, float] = {}
    for row in section.rows:
        if row.against_full is None:
            continue
        effect = row.against_full.value / margin
        if row.variant in VARIANTS and row.budget in SAVED:
            effects.setdefault(row.variant, []).append(effect)
        elif row.variant in (RANDOM_AUTO, *SCORED_AUTO):
            automatic[row.variant] = effect
    if shown is None or math.isnan(shown.learned) or any(b not in effects for b in BASELINES):
        return None
    means = {variant: float(np.mean(values)) for variant, values in effects.items()}
    return Setting(section.title, shown.learned, shown.rise / margin, shown.fall, means, automatic)


def signs_tables(sections: Sequence[Section]) -> str:
    """Return the signs and effects of each setting, and how they are related."""
    shown = [found for section in sections if (found := setting_of(section)) is not None]
    shown.sort(key=lambda one: -one.learned)
    lines = [
        "| setting | learned at half | rise of the metric | fall of the loss | "
        f"{' | '.join(f'{variant} − full' for variant in VARIANTS)} |",
        f"| --- |{' ---: |' * (3 + len(VARIANTS))}",
    ]
    for one in shown:
        effects = ["" if w not in one.effects else f"{one.effects[w]:+.1f}" for w in VARIANTS]
        lines.append(
            f"| {one.title} | {100 * one.learned:.0f}% | {one.rise:+.1f} | {100 * one.fall:.0f}% | "
            f"{' | '.join(effects)} |"
        )
    lines += [
        "",
        "| sign | settings | the better baseline loses more than a margin | bls-infobatch loses "
        "more than a margin | bls-infobatch is better than both baselines by more than half a "
        "margin |",
        "| --- | ---: | ---: | ---: | ---: |",
        *_counts("learned at half", LEARNED, shown, lambda one: one.learned, "{:.0%}"),
        *_counts("rise of the metric, margins", RISES, shown, lambda one: one.rise, "{:g}"),
        "",
        "| rank correlation with | learned at half | rise of the metric | fall of the loss |",
        "| --- | ---: | ---: | ---: |",
    ]
    effects_of = {"the better baseline − full": [one.baseline for one in shown]}
    for variant in ("infobatch", "bls-infobatch"):
        effects_of[f"{variant} − full"] = [one.effects.get(variant, math.nan) for one in shown]
        effects_of[f"{variant} − the better baseline"] = [one.gain(variant) for one in shown]
    for variant in SCORED_AUTO:
        effects_of[f"{variant} − {RANDOM_AUTO}"] = [
            one.automatic.get(variant, math.nan) - one.automatic.get(RANDOM_AUTO, math.nan)
            for one in shown
        ]
    for name, effects_there in effects_of.items():
        cells = [
            _correlation([getattr(one, sign) for one in shown], effects_there)
            for sign in ("learned", "rise", "fall")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _counts(
    name: str,
    bounds: tuple[float, float],
    shown: Sequence[Setting],
    sign: Callable[[Setting], float],
    written: str,
) -> Iterator[str]:
    """Yield the numbers of settings that lose, with a sign below, between and above two bounds."""
    low, high = (written.format(bound) for bound in bounds)
    for what, place in ((f"below {low}", 0), (f"{low} to {high}", 1), (f"above {high}", 2)):
        mine = [one for one in shown if np.digitize(sign(one), bounds) == place]
        losing = sum(one.baseline < -1 for one in mine)
        scored = sum(one.effects["bls-infobatch"] < -1 for one in mine)
        gaining = sum(one.gain("bls-infobatch") > 0.5 for one in mine)
        yield f"| {name}: {what} | {len(mine)} | {losing} | {scored} | {gaining} |"


def _correlation(signs: Sequence[float], effects: Sequence[float]) -> str:
    pairs = np.array([signs, effects])
    first, second = pairs[:, np.isfinite(pairs).all(0)]
    found = rank_correlation(first, second)
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
