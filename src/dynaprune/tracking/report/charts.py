"""The figures of a report: Vega-Lite charts, each with a caption and a table of its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...utils.optional_imports import require
from ..recording import LEVELS
from .hints import Hint
from .run import RecordedRun, avoided, saved_seconds

POINTS = 1500
"""The maximal number of points of a curve."""

ROWS = 200
"""The maximal number of rows in the table below a figure."""

GROUPS = 50
"""The number of groups of samples with similar scores."""

WIDE, HIGH = "container", 220


@dataclass(frozen=True)
class Figure:
    """A chart with a table of its numbers, which a screen reader can read.

    Attributes:
        name: the id of its HTML element.
        title: the heading.
        about: the caption, one or two sentences.
        spec: the Vega-Lite specification of the chart.
        columns: the column names of the table.
        rows: the cells of the table as text.
    """

    name: str
    title: str
    about: str
    spec: dict[str, Any]
    columns: list[str]
    rows: list[list[str]]


def figures_of(run: RecordedRun) -> list[Figure | Hint]:
    """Return the figures, and a hint in place of each for which the run has no data.

    Raises:
        ImportError: altair is not installed.
    """
    return [
        visits(run),
        losses(run),
        rates(run),
        scores(run),
        served_by_score(run),
        reliability(run),
    ]


def visits(run: RecordedRun) -> Figure:
    """Return the sample visits by epoch, made and avoided, and the seconds saved."""
    alt = require("altair", "report")
    rows: list[dict[str, Any]] = []
    for epoch in run.epochs:
        for number, (kind, count) in enumerate(
            (("made", epoch.visits), ("avoided", avoided(epoch)))
        ):
            rows.append(
                {
                    "epoch": epoch.number,
                    "visits": count,
                    "which": kind,
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
        f"{run.share_saved:.1%} of the visits of full training were avoided. The seconds saved "
        "assume that an avoided visit would have taken as long as the visits of its epoch.",
        _spec(chart),
        ["epoch", "visits made", "avoided", "seconds", "seconds saved"],
        _thinned(table),
    )


def losses(run: RecordedRun) -> Figure | Hint:
    """Return the training loss over sample visits."""
    return _curve(
        run,
        "losses",
        "Training loss",
        "loss",
        "The mean loss of the served samples, before weights. If easy samples are skipped, it is "
        "higher than the mean loss of all samples.",
        [epoch.curve_losses for epoch in run.epochs],
        [epoch.mean_loss for epoch in run.epochs],
        "No loss was finite. Lower the learning rate, or clip gradients, and train again.",
    )


def rates(run: RecordedRun) -> Figure | Hint:
    """Return the learning rate over sample visits."""
    return _curve(
        run,
        "rates",
        "Learning rate",
        "learning rate",
        "The learning rate of the optimizer's first parameter group. Its schedule should end when "
        "the run ends.",
        [epoch.curve_rates for epoch in run.epochs],
        [epoch.curve_rates[-1] if epoch.curve_rates else math.nan for epoch in run.epochs],
        "It was not recorded. Pass the optimizer: train.record(directory, optimizer=optimizer). A "
        "rate in a tensor on a GPU is never read, because reading it would make training wait.",
    )


def _curve(
    run: RecordedRun,
    name: str,
    title: str,
    quantity: str,
    about: str,
    curves: Sequence[Sequence[float]],
    epoch_values: Sequence[float],
    otherwise: str,
) -> Figure | Hint:
    """Return a curve over sample visits, or a hint if none of its values is known.

    Arguments:
        run: the recorded run.
        name: the name of the figure.
        title: its title.
        quantity: the name of the vertical axis.
        about: its caption.
        curves: the values at the points of each epoch; empty for an epoch without known values.
        epoch_values: one value per epoch, for the table.
        otherwise: the text of the hint.
    """
    alt = require("altair", "report")
    points: list[dict[str, Any]] = []
    before = 0
    for epoch, curve in zip(run.epochs, curves, strict=True):
        for done, value in zip(epoch.curve_visits, curve, strict=False):
            point = {"visits": before + done, quantity: _finite(value), "epoch": epoch.number}
            points.append(point)
        before += epoch.visits
    if all(point[quantity] is None for point in points):
        return Hint(name, title, otherwise)
    points = points[:: math.ceil(len(points) / POINTS)]
    chart = (
        alt.Chart(alt.Data(values=points))
        .mark_line()
        .encode(
            x=alt.X("visits:Q", title="sample visits"),
            y=alt.Y(f"{quantity}:Q", scale=alt.Scale(zero=name == "rates")),
            tooltip=["epoch:Q", "visits:Q", f"{quantity}:Q"],
        )
    )
    values = zip(run.epochs, epoch_values, strict=True)
    table = [[str(epoch.number), _text(_finite(value))] for epoch, value in values]
    column = f"mean {quantity}" if name == "losses" else f"{quantity} at the end"
    return Figure(name, title, about, _spec(chart), ["epoch", column], _thinned(table))


def scores(run: RecordedRun) -> Figure | Hint:
    """Return the distribution of scores over epochs."""
    alt = require("altair", "report")
    names = [f"{level:.0%}" for level in LEVELS]
    rows = [
        {"epoch": epoch.number, **dict(zip(names, map(_finite, epoch.quantiles), strict=True))}
        for epoch in run.epochs
        if epoch.quantiles
    ]
    if not rows:
        return Hint("scores", "Scores", "No sample was known when the recorded epochs ended.")
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
        "The median of all scores after each epoch, and the ranges that contain 50%, 80% and 98% "
        "of them.",
        _spec(alt.layer(*bands, median)),
        ["epoch", *names],
        _thinned(table),
    )


def served_by_score(run: RecordedRun) -> Figure | Hint:
    """Return how often samples were served, by the rank of their score."""
    alt = require("altair", "report")
    samples = run.samples
    if samples.scores.size < 2 or samples.epochs == 0:
        return Hint(
            "served",
            "Served, by score",
            "It needs two samples or more, and an epoch that was recorded from its beginning. Call "
            "train.record before the first epoch.",
        )
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
        x=alt.X("score rank:Q", title="rank of the score, % (100 is the highest)")
    )
    band = base.mark_area(opacity=0.25).encode(
        y=alt.Y("10%:Q", title="share of epochs that served it", axis=axis), y2="90%:Q"
    )
    line = base.mark_line(point=True).encode(
        y=alt.Y("mean:Q", axis=axis), tooltip=[f"{name}:Q" for name in rows[0]]
    )
    never = int((samples.visits == 0).sum())
    table = [[_text(row[name]) for name in row] for row in rows]
    return Figure(
        "served",
        "Served, by score",
        f"The share of {samples.epochs:,} epochs in which samples were served, by the rank of "
        "their final score: the mean, and the range of 80% of the samples. "
        f"{never:,} of {samples.scores.size:,} samples were never served.",
        _spec(alt.layer(band, line)),
        list(rows[0]),
        table,
    )


def reliability(run: RecordedRun) -> Figure | Hint:
    """Return the reliability of the scores over epochs."""
    alt = require("altair", "report")
    rows = [
        {"epoch": epoch.number, "reliability": _rounded(epoch.reliability)}
        for epoch in run.epochs
        if math.isfinite(epoch.reliability)
    ]
    if not rows:
        return Hint(
            "reliability",
            "Reliability of the scores",
            "It is not known. It needs a second epoch, in which batches have different losses, and "
            "samples different scores. Train for another epoch, and write the report again.",
        )
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
        "Approximately the rank correlation of scores with the samples' losses, estimated from the "
        "batch losses alone: 0 is no better than random, 1 is the exact order.",
        _spec(chart),
        ["epoch", "reliability"],
        _thinned([[str(row["epoch"]), _text(row["reliability"])] for row in rows]),
    )


def _epochs(alt: Any, kind: str = "quantitative") -> Any:
    if kind == "ordinal":
        return alt.X("epoch:O", axis=alt.Axis(labelAngle=0, labelOverlap=True))
    return alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1, format="d"))


def _spec(chart: Any) -> dict[str, Any]:
    found: dict[str, Any] = chart.properties(width=WIDE, height=HIGH).to_dict()
    return found


def _thinned(rows: Sequence[list[str]]) -> list[list[str]]:
    """Return at most `ROWS` rows, evenly spaced, including the first and the last one."""
    if len(rows) <= ROWS:
        return list(rows)
    positions: Iterable[int] = np.linspace(0, len(rows) - 1, ROWS).round().astype(int).tolist()
    return [rows[position] for position in positions]


def _finite(value: float) -> float | None:
    return _rounded(value) if math.isfinite(value) else None


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")  # more digits would make up most of the page's size


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else f"{value:,}"
