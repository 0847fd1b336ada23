"""The figures of a report: Vega-Lite charts, each with what it says and its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...utils.optional_imports import require
from ..recording import LEVELS
from .run import RecordedRun, avoided, saved_seconds

POINTS = 1500
"""Points of a curve."""

ROWS = 200
"""Rows of the table below a figure."""

GROUPS = 50
"""Groups of samples of about the same score."""

WIDE, HIGH = "container", 220


@dataclass(frozen=True)
class Figure:
    """A chart for those who see it, and a table for those who do not, or want the numbers.

    Attributes:
        name: of its element.
        title: shown above it.
        about: what it shows, in a sentence or two.
        spec: of Vega-Lite.
        columns: of the table.
        rows: likewise, as texts.
    """

    name: str
    title: str
    about: str
    spec: dict[str, Any]
    columns: list[str]
    rows: list[list[str]]


def figures_of(run: RecordedRun) -> list[Figure]:
    """Return the figures that a run has anything to show in.

    Raises:
        ImportError: altair is not installed.
    """
    found = [
        visits(run),
        losses(run),
        rates(run),
        scores(run),
        served_by_score(run),
        reliability(run),
    ]
    return [figure for figure in found if figure is not None]


def visits(run: RecordedRun) -> Figure:
    """Sample visits by epoch, made and avoided, and the seconds that this has saved."""
    alt = require("altair", "report")
    rows: list[dict[str, Any]] = []
    for epoch in run.epochs:
        for number, (what, count) in enumerate(
            (("made", epoch.visits), ("avoided", avoided(epoch)))
        ):
            rows.append(
                {
                    "epoch": epoch.number,
                    "visits": count,
                    "which": what,
                    "order": number,
                    "seconds": _rounded(epoch.seconds),
                    "seconds saved": _finite(saved_seconds(epoch)),
                }
            )
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(
            x=_epochs(alt, "ordinal" if len(run.epochs) <= 60 else "quantitative"),
            y=alt.Y("visits:Q", title="sample visits"),
            color=alt.Color(
                "which:N", title=None, sort=["made", "avoided"], scale=alt.Scale(scheme="tableau10")
            ),
            order="order:Q",
            tooltip=["epoch:Q", "which:N", "visits:Q", "seconds:Q", "seconds saved:Q"],
        )
    )
    table = [
        [
            str(epoch.number),
            f"{epoch.visits:,}",
            f"{avoided(epoch):,}",
            f"{epoch.seconds:.3g}",
            f"{saved_seconds(epoch):.3g}",
        ]
        for epoch in run.epochs
    ]
    return Figure(
        "visits",
        "Sample visits",
        f"{run.share_saved:.1%} of the visits that full training would have made were avoided. "
        "The seconds saved are what these would have taken at the pace of their own epochs.",
        _spec(chart),
        ["epoch", "visits made", "avoided", "seconds", "seconds saved"],
        _few(table),
    )


def losses(run: RecordedRun) -> Figure | None:
    """Training loss against sample visits."""
    return _curve(
        run,
        "losses",
        "Training loss",
        "loss",
        "The mean loss of what was served, before weights: where easy samples are skipped, it is "
        "higher than that of all.",
        [epoch.curve_losses for epoch in run.epochs],
        [epoch.mean_loss for epoch in run.epochs],
    )


def rates(run: RecordedRun) -> Figure | None:
    """Learning rate against sample visits."""
    return _curve(
        run,
        "rates",
        "Learning rate",
        "learning rate",
        "That of the optimizer's first group. Its schedule should end with the visits.",
        [epoch.curve_rates for epoch in run.epochs],
        [epoch.curve_rates[-1] if epoch.curve_rates else math.nan for epoch in run.epochs],
    )


def _curve(
    run: RecordedRun,
    name: str,
    title: str,
    what: str,
    about: str,
    curves: Sequence[Sequence[float]],
    each: Sequence[float],
) -> Figure | None:
    """Return a curve over sample visits.

    Arguments:
        run: it.
        name: of the figure.
        title: likewise.
        what: the curve shows.
        about: likewise, in a sentence.
        curves: its values at the points of each epoch; none where they are not known.
        each: a value an epoch, for the table.
    """
    alt = require("altair", "report")
    points: list[dict[str, Any]] = []
    before = 0
    for epoch, curve in zip(run.epochs, curves, strict=True):
        for done, value in zip(epoch.curve_visits, curve, strict=False):
            point = {"visits": before + done, what: _finite(value), "epoch": epoch.number}
            points.append(point)
        before += epoch.visits
    if all(point[what] is None for point in points):
        return None
    points = points[:: math.ceil(len(points) / POINTS)]
    chart = (
        alt.Chart(alt.Data(values=points))
        .mark_line()
        .encode(
            x=alt.X("visits:Q", title="sample visits"),
            y=alt.Y(f"{what}:Q", scale=alt.Scale(zero=name == "rates")),
            tooltip=["epoch:Q", "visits:Q", f"{what}:Q"],
        )
    )
    values = zip(run.epochs, each, strict=True)
    table = [[str(epoch.number), _text(_finite(value))] for epoch, value in values]
    column = f"mean {what}" if name == "losses" else f"{what} at its end"
    return Figure(name, title, about, _spec(chart), ["epoch", column], _few(table))


def scores(run: RecordedRun) -> Figure | None:
    """The distribution of scores over epochs."""
    alt = require("altair", "report")
    names = [f"{level:.0%}" for level in LEVELS]
    rows = [
        {"epoch": epoch.number, **dict(zip(names, map(_finite, epoch.quantiles), strict=True))}
        for epoch in run.epochs
        if epoch.quantiles
    ]
    if not rows:
        return None
    base = alt.Chart(alt.Data(values=rows)).encode(x=_epochs(alt))
    tips = [alt.Tooltip("epoch:Q"), *(alt.Tooltip(f"{name}:Q", format=".4g") for name in names)]
    title = "score"
    bands = [
        base.mark_area(opacity=opacity).encode(
            y=alt.Y(f"{low}:Q", title=title, scale=alt.Scale(zero=False)), y2=f"{high}:Q"
        )
        for low, high, opacity in (("1%", "99%", 0.15), ("10%", "90%", 0.25), ("25%", "75%", 0.35))
    ]
    median = base.mark_line(point=len(rows) <= 60).encode(
        y=alt.Y("50%:Q", title=title), tooltip=tips
    )
    table = [[str(row["epoch"]), *(_text(row[name]) for name in names)] for row in rows]
    return Figure(
        "scores",
        "Scores",
        "The median of all scores after each epoch, and the ranges that hold half, four fifths and "
        "98% of them.",
        _spec(alt.layer(*bands, median)),
        ["epoch", *names],
        _few(table),
    )


def served_by_score(run: RecordedRun) -> Figure | None:
    """How often samples were served, against their score."""
    alt = require("altair", "report")
    samples = run.samples
    if samples.scores.size < 2 or samples.epochs == 0:
        return None
    order = np.argsort(samples.scores, kind="stable")
    groups = np.array_split(order, min(GROUPS, order.size))
    served = run.share_served
    rows, first = [], 0
    for group in groups:
        low, middle, high = np.quantile(served[group], [0.1, 0.5, 0.9]).tolist()
        last = first + group.size
        rows.append(
            {
                "score rank": _rounded(50 * (first + last) / order.size),
                "lowest score": _finite(float(samples.scores[group[0]])),
                "highest score": _finite(float(samples.scores[group[-1]])),
                "mean": _rounded(float(served[group].mean())),
                "10%": _rounded(low),
                "median": _rounded(middle),
                "90%": _rounded(high),
                "samples": group.size,
            }
        )
        first = last
    axis = alt.Axis(format="%")
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("score rank:Q", title="rank of the score, in % (100 is the highest)")
    )
    band = base.mark_area(opacity=0.25).encode(
        y=alt.Y("10%:Q", title="share of epochs in which served", axis=axis), y2="90%:Q"
    )
    line = base.mark_line(point=True).encode(
        y=alt.Y("mean:Q", axis=axis), tooltip=[f"{name}:Q" for name in rows[0]]
    )
    never = int((samples.visits == 0).sum())
    table = [[_text(row[name]) for name in row] for row in rows]
    return Figure(
        "served",
        "Served, by score",
        f"In which share of {samples.epochs:,} epochs samples were served, by the rank of their "
        "score at the end: the mean, and the range of four fifths of them. "
        f"{never:,} of {samples.scores.size:,} samples were never served.",
        _spec(alt.layer(band, line)),
        list(rows[0]),
        table,
    )


def reliability(run: RecordedRun) -> Figure | None:
    """How far the scores could be trusted, over epochs."""
    alt = require("altair", "report")
    rows = [
        {"epoch": epoch.number, "reliability": _rounded(epoch.reliability)}
        for epoch in run.epochs
        if math.isfinite(epoch.reliability)
    ]
    if not rows:
        return None
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(point=len(rows) <= 60)
        .encode(
            x=_epochs(alt),
            y=alt.Y("reliability:Q", scale=alt.Scale(domainMax=1)),
            tooltip=["epoch:Q", "reliability:Q"],
        )
    )
    return Figure(
        "reliability",
        "Reliability of the scores",
        "About the rank correlation of scores with the samples' losses, estimated from the batches "
        "alone: 0 is as good as random, 1 orders the samples as their losses do.",
        _spec(chart),
        ["epoch", "reliability"],
        _few([[str(row["epoch"]), _text(row["reliability"])] for row in rows]),
    )


def _epochs(alt: Any, kind: str = "quantitative") -> Any:
    if kind == "ordinal":
        return alt.X("epoch:O", axis=alt.Axis(labelAngle=0, labelOverlap=True))
    return alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1, format="d"))


def _spec(chart: Any) -> dict[str, Any]:
    found: dict[str, Any] = chart.properties(width=WIDE, height=HIGH).to_dict()
    return found


def _few(rows: Sequence[list[str]]) -> list[list[str]]:
    """Return as many rows as a table may have, evenly spread, with the last one."""
    if len(rows) <= ROWS:
        return list(rows)
    places: Iterable[int] = np.linspace(0, len(rows) - 1, ROWS).round().astype(int).tolist()
    return [rows[place] for place in places]


def _finite(value: float) -> float | None:
    return _rounded(value) if math.isfinite(value) else None


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")  # digits that nobody sees would be most of the page


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else f"{value:,}"
