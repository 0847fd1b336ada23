"""The demo: a small task at 25% saved, with its results as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from .comparison import Row
from .ways import BASELINES, FULL

TASKS = {"digits": "digits-cnn", "mnist5k": "mnist5k-cnn", "cifar10": "cifar10-cnn"}
"""The names of the demo's tasks, by data set."""

DEMO_WAYS = (FULL, *BASELINES, "infobatch", "bls-infobatch", "bls-seta", "kalman-infobatch")
SAVED = 0.25


def as_table(rows: Sequence[Row], title: str, metric: str) -> Table:
    """Return the rows as a table for the terminal, in percent with 95% intervals."""
    table = Table(title=title)
    table.add_column("variant")
    for name in (f"test {metric}", "against full", "visits saved", "wall-clock saved"):
        table.add_column(f"{name} %", justify="right")
    for row in rows:
        table.add_row(
            row.way,
            row.quality.percent(),
            "" if row.against_full is None else row.against_full.percent(sign=True),
            "" if row.way == FULL else f"{100 * row.visits_saved.value:.1f}",
            "" if row.seconds_saved is None else row.seconds_saved.percent(),
        )
    return table
