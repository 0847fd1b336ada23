"""Whether a control group tells that skipping does harm: do skipped samples fall behind?

    python benchmarks/studies/control_group.py --root DATA    # trains; goes on where it stopped
    python benchmarks/studies/control_group.py --tables       # prints the results so far

RandomPrune skips 30% of each epoch, drawn anew, so in each epoch two random groups are compared:
samples that the epoch before served, and samples that it skipped. `gap` is the mean loss of the
latter minus that of the former: what a visit to the sample itself is worth. `fall` is the fall of
the mean loss since the epoch before: what all visits together are worth. Where nearly all of the
fall comes from visits to other samples, gap/fall is small and the model generalizes; where it
memorizes, the gap is as large as the fall or larger.
The question is whether this, read from the second half of the run, predicts what random pruning
costs in docs/evidence/brief.md. It does not: over 25 brief tasks the rank correlation is +0.35
(−0.07 to +0.66), no better than that of the learned share.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept_runs import RESULTS, Runs
from torch import Tensor

from dynaprune import RandomPrune
from dynaprune.bench.recipe import Recipe
from dynaprune.bench.registry import find_tasks
from dynaprune.bench.results import Results
from dynaprune.bench.sections import sections_of
from dynaprune.bench.task import Task
from dynaprune.bench.training import train_run
from dynaprune.diagnostics.estimates import rank_correlation
from dynaprune.tracking import Callback
from dynaprune.training.callbacks import EpochResult

ZOO = Path(__file__).parents[1] / "zoo"
FILE = RESULTS / "control-group" / "results.jsonl"
SAVING = 0.3
SEEDS = 2


class Groups(Callback):
    """Compares, in each epoch, samples by whether the epoch before served them.

    Attributes:
        epochs: for each epoch but the first its mean loss, the gap with its standard error, and the
            fall.
    """

    def __init__(self, num_samples: int) -> None:
        self.epochs: list[dict[str, float]] = []
        self._served = torch.zeros(num_samples, dtype=torch.bool)
        self._mean = math.nan

    def on_epoch_end(self, result: EpochResult) -> None:
        found = result.measurements
        indices, losses = found.indices.long(), found.losses.double()
        was_served = self._served[indices]
        if result.number > 0 and losses.numel() == indices.numel():
            served, skipped = losses[was_served], losses[~was_served]
            error = math.sqrt(_variance_of_mean(served) + _variance_of_mean(skipped))
            self.epochs.append(
                {
                    "mean": result.mean_loss,
                    "gap": float(skipped.mean() - served.mean()),
                    "error": error,
                    "fall": self._mean - result.mean_loss,
                }
            )
        self._mean = result.mean_loss
        self._served = torch.zeros_like(self._served)
        self._served[indices] = True


def _variance_of_mean(losses: Tensor) -> float:
    return float(losses.var() / losses.numel())


def run(task: Task, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Train a loaded task, and return what the groups showed in each epoch."""
    train = RandomPrune(task.train, recipe.epochs, saving=SAVING, seed=seed)
    groups = Groups(len(task.train))
    train.add_callback(groups)
    found = train_run(task, recipe, train, seed, reads="samples")
    return {"quality": found.quality, "epochs": groups.epochs}


def in_second_half(epochs: list[dict[str, float]]) -> tuple[float, float, float]:
    """Return the gap over the fall, the gap over the mean loss, and the fall over the mean loss."""
    late = epochs[len(epochs) // 2 :]
    gap, fall = (sum(each[name] for each in late) for name in ("gap", "fall"))
    mean = sum(each["mean"] for each in late)
    return gap / fall if fall > 0 else math.nan, gap / mean, fall / mean


def tables(runs: Runs) -> str:
    """Return the results, and their rank correlation with the cost of random pruning."""
    costs = {
        section.task["name"]: row.against_full.value / section.task["margin"]
        for section in sections_of(Results(RESULTS / "bench"))
        for row in section.rows
        if section.regime == "as-is"
        and (row.variant, row.budget) == ("random", SAVING)
        and row.against_full is not None
    }
    lines = [
        "| task | gap / fall | gap / mean loss | fall / mean loss | random 30% − full, margins |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    rows = []
    for name in dict.fromkeys(result["task"] for result in runs.results):
        found = [in_second_half(r["epochs"]) for r in runs.results if r["task"] == name]
        means = [sum(column) / len(column) for column in zip(*found, strict=True)]
        rows.append((name, *means, costs[name]))
    for name, ratio, gap, fall, cost in sorted(rows, key=lambda row: row[1]):
        lines.append(f"| {name} | {ratio:.2f} | {gap:.3f} | {fall:.3f} | {cost:+.1f} |")
    for place, name in ((1, "gap / fall"), (2, "gap / mean loss"), (3, "fall / mean loss")):
        known = np.array([(row[place], row[4]) for row in rows if not math.isnan(row[place])])
        estimate = rank_correlation(known[:, 0], known[:, 1])
        lines.append(
            f"rank correlation of {name} with the difference to full training: "
            f"{estimate.value:+.2f} ({estimate.low:+.2f} to {estimate.high:+.2f})"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="folder that holds data sets")
    parser.add_argument("--tables", action="store_true", help="only print the results so far")
    given = parser.parse_args()
    runs = Runs(FILE)
    if not given.tables:
        torch.set_num_threads(1)
        for seed in range(SEEDS):
            for name, kind in find_tasks(ZOO).items():
                task = kind()
                if task.has_losses:
                    task.load(given.root)
                    runs.do({"task": name, "seed": seed}, run, task, kind.recipe, seed)
    print(tables(runs))


if __name__ == "__main__":
    main()
