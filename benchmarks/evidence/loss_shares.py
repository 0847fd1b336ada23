"""The automatic budget at other shares of the loss than its own.

    python benchmarks/evidence/loss_shares.py --root DATA    # goes on where it stopped

`saving="auto"` skips as many samples as together hold 5% of all loss. Here it runs with less and
with more on the tasks of the evidence, brief and at full length, the cheapest first. What they are
compared with, full training and the share of 5%, are runs of the evidence itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from unittest import mock

from full_length import EVIDENCE, RESULTS, ZOO, full_runs, load_task

from dynaprune.bench.comparison import compare
from dynaprune.bench.registry import find_tasks
from dynaprune.bench.results import Results
from dynaprune.bench.runner import plan_runs, run_all
from dynaprune.bench.sections import Section
from dynaprune.bench.task import Length, Task
from dynaprune.bench.variants import FULL
from dynaprune.methods import _budget

FOLDER = RESULTS / "loss-shares"
LENGTHS: dict[Length, Path] = {"brief": RESULTS / "bench", "full": RESULTS / EVIDENCE}


@dataclass(frozen=True)
class Setting:
    """What is run at a share of the loss: variants and seeds."""

    variants: tuple[str, ...]
    seeds: range


SETTINGS = {
    0.1: Setting(("random-auto", "bls-infobatch-auto"), range(3)),
    0.02: Setting(("random-auto",), range(2)),
    0.01: Setting(("random-auto",), range(2)),
}


def kept_results(out: Path = FOLDER) -> dict[float, Results]:
    """Return the results by share of the loss."""
    return {loss_share: Results(out / f"{loss_share}") for loss_share in SETTINGS}


def jobs() -> list[tuple[str, Length]]:
    """Return the tasks at both lengths, the cheapest first."""
    seconds = {
        (line["task"], length): line["seconds"]
        for length, folder in LENGTHS.items()
        for line in full_runs(Results(folder))
    }
    return sorted(seconds, key=lambda job: seconds[job])


def train(name: str, length: Length, loss_share: float, root: Path, results: Results) -> None:
    """Make the missing runs of a task at a share of the loss."""
    task, setting = _loaded(name, root), SETTINGS[loss_share]
    recipe = task.recipe_of(length)
    plan = plan_runs(task, "as-is", setting.variants, [], setting.seeds, recipe)
    runs = [planned for planned in plan.runs if planned.key.variant != FULL]
    with mock.patch.object(_budget, "LOSS_SHARE", loss_share):
        for planned, line in run_all(task, runs, results):
            print(
                f"{loss_share:.0%}  seed {planned.key.seed}  {name}  {length}  "
                f"{planned.key.variant}: {line['quality']:.4g} in {line['seconds']:.0f} s",
                flush=True,
            )


@lru_cache(maxsize=1)
def _loaded(name: str, root: Path) -> Task:
    return load_task(find_tasks(ZOO)[name], root)


def at_share(sections: Sequence[Section], results: Results) -> list[Section]:
    """Return the results at a share of the loss beside the full trainings of the evidence.

    Arguments:
        sections: those of the evidence, of one length.
        results: those at the share.
    """
    found = []
    for section in sections:
        own = [
            line
            for line in results.lines
            if (line["task"], line["recipe"]) == (section.task["name"], section.recipe)
        ]
        if own:
            lines = [line for line in section.lines if line["variant"] == FULL] + own
            rows = compare(lines, section.task["margin"], section.task["higher_is_better"])
            found.append(replace(section, rows=rows, lines=lines))
    return found


def main() -> None:
    """Make the runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds data sets")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for results")
    given = parser.parse_args()
    kept = kept_results(given.out)
    for name, length in jobs():
        for loss_share, results in kept.items():
            train(name, length, loss_share, given.root, results)


if __name__ == "__main__":
    main()
