"""The demo: three trainings whose gain can be seen within a minute each.

The first compares variants on a small task. The others are scripts of `examples/`, run as a user
would run them; the wheel contains them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from .comparison import Row
from .statistics import Mean
from .variants import BASELINES, FULL

TASKS = {"digits": "digits-cnn", "mnist5k": "mnist5k-cnn", "cifar10": "cifar10-cnn"}
"""The names of the demo's tasks, by data set."""

SCORED = "kalman-infobatch"
"""The variant that the demo describes in words."""

DEMO_VARIANTS = (FULL, *BASELINES, "bls-infobatch", SCORED)
SAVED = 1 / 3

PACKAGE = Path(__file__).resolve().parents[1]

PLACES = (PACKAGE.parents[1] / "examples", PACKAGE / "examples")
"""Folders of the examples: that of a clone, and that of an installed wheel."""


@dataclass(frozen=True)
class Example:
    """An act of the demo that is a script of `examples/`.

    Attributes:
        name: the name of the script, without ".py".
        title: what it shows.
        makes: the names of the files that it writes, each with a description.
    """

    name: str
    title: str
    makes: dict[str, str]


EXAMPLES = {
    2: Example(
        "find_wrong_labels",
        "a fifth of the labels are wrong: which ones?",
        {
            "suspects.png": "the digits with the most suspicious labels",
            "suspects.html": "a page to decide on them, for a browser",
        },
    ),
    3: Example(
        "fit_image",
        "an image is fitted with half the visits: which pixels should have them?",
        {"fit_image.png": "the image, its errors, and where the visits went"},
    ),
}
"""The acts after the first one, by number."""


def run_example(example: Example, folder: Path, epochs: int | None) -> Iterator[str]:
    """Run an example, and yield each line that it prints.

    Arguments:
        example: the example.
        folder: the folder for its files.
        epochs: the number of epochs; `None` for its own default.

    Raises:
        FileNotFoundError: the script is neither in a clone nor in the installed package.
        RuntimeError: it has failed.
    """
    script = _script(example.name)
    command = [sys.executable, str(script), "--folder", str(folder)]
    command += [] if epochs is None else ["--epochs", str(epochs)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield line.rstrip("\n")
    if process.returncode != 0:
        raise RuntimeError(
            f"{script} ended with exit code {process.returncode}: its error is above. Run it alone "
            "to see more"
        )


def _script(name: str) -> Path:
    for place in PLACES:
        if (place / f"{name}.py").exists():
            return place / f"{name}.py"
    raise FileNotFoundError(
        f"there is no {name}.py in {' or '.join(map(str, PLACES))}: install dynaprune again"
    )


def as_table(rows: Sequence[Row], title: str, metric: str) -> Table:
    """Return the rows as a table for the terminal, in percent with 95% intervals."""
    table = Table(title=title)
    table.add_column("variant", no_wrap=True)
    for name in (f"test {metric}", "against full", "visits saved", "wall-clock saved"):
        table.add_column(f"{name} %", justify="right")
    for row in rows:
        table.add_row(
            row.variant,
            row.quality.percent(),
            "" if row.against_full is None else row.against_full.percent(sign=True),
            "" if row.variant == FULL else f"{100 * row.visits_saved.value:.1f}",
            "" if row.seconds_saved is None else row.seconds_saved.percent(),
        )
    return table


def in_words(rows: Sequence[Row], metric: str) -> str:
    """Return what the rows say of `SCORED`, compared with full training and with the baselines."""
    by_name = {row.variant: row for row in rows}
    row = by_name[SCORED]
    others = {"full training": row.against_full, **row.against}
    compared = [f"{_difference(mean)} {name}" for name, mean in others.items() if mean is not None]
    return (
        f"{SCORED} made {row.visits_saved.value:.0%} fewer sample visits than full training: "
        f"test {metric} {100 * row.quality.value:.1f}%, {', '.join(compared)}."
    )


def _difference(mean: Mean) -> str:
    """Return a difference of a metric as words: only an interval without zero shows one."""
    points = f"({mean.percent(sign=True)} points)"
    if mean.is_above_zero:
        return f"better {points} than"
    if mean.is_below_zero:
        return f"worse {points} than"
    return f"no clear difference {points} from"
