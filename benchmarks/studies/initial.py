"""The initial value of BLS, the run's first loss or 0, while InfoBatch prunes by BLS.

    python benchmarks/studies/initial.py --root DATA    # trains; continues where it stopped
    python benchmarks/studies/initial.py --tables       # prints the results so far

A score that decides which samples are served influences its own measurements, so each initial value
needs a separate training. Both trainings of a seed have the same samples and initial weights. The
true loss of a sample is that of the model after the epoch, in evaluation mode.

With `--read`, KalmanBLS prunes instead, as in fidelity.py, and both scores read the same training.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import fidelity
import numpy as np
import torch
from kept_runs import RESULTS, Runs
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tasks import NAMES, Task, load
from torch import Tensor
from torch.nn.functional import cross_entropy

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune
from dynaprune.bench.recipe import one_cycle
from dynaprune.bench.statistics import mean_of
from dynaprune.bench.tasks.image_sets import load_images
from dynaprune.bench.tasks.small_cnn import SmallCNN
from dynaprune.scores.bls import Initial

EPOCHS = 30
REPORTED = (5, 10, 20, 26, 30)  # InfoBatch as published trains on everything after the 26th
STARTS: tuple[Initial, ...] = ("first", 0.0)
METHODS: dict[str, dict[str, float]] = {"published": {}, "saving=0.3": {"saving": 0.3}}
SAMPLES = {"images": 2000, "text": 3000, "audio": 2700}
CELLS = [
    *[(task, size) for size in (64, 16) for task in ("digits", *NAMES)],
    *[(task, 4) for task in ("digits", "text")],
]
READ_CELLS = [(task, size) for size in (128, 16) for task in NAMES]
TESTED = 2000
READ = "KalmanBLS decides"


def task_of(name: str, root: Path, seed: int) -> Task:
    """Return a task with samples drawn by the seed; the 898 digits are the same for all seeds."""
    if name != "digits":
        return load(name, root).first(SAMPLES[name], seed)
    data = load_images("digits", root)
    inputs, labels = data.train.tensors
    pixels, test_pixels = (each.float() / 127.5 - 1 for each in (inputs, data.test_images))
    model = lambda: SmallCNN(1, 8, 10)  # noqa: E731
    return Task(name, pixels, labels, test_pixels, data.test_labels, model, 0.02)


def run(task: Task, batch_size: int, seed: int, method: str, initial: Initial) -> dict[str, Any]:
    """Train once; return rank correlations of scores with losses and visits, and the accuracy."""
    torch.manual_seed(seed)
    model = task.make_model()
    highest = task.learning_rate * math.sqrt(batch_size / 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=highest, weight_decay=task.weight_decay)
    score = BLS(InfoBatch(task.train, EPOCHS, seed=seed, **METHODS[method]), initial=initial)
    train = score.proxy()
    score.follow(["visits"])
    found: dict[str, dict[int, float]] = {"losses": {}, "visits": {}}
    loader = DataLoader(train, batch_size=batch_size)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        for inputs, labels in loader:
            optimizer.param_groups[0]["lr"] = highest * one_cycle(train.progress / EPOCHS)
            optimizer.zero_grad()
            train.update(cross_entropy(model(inputs), labels)).backward()
            optimizer.step()
        if epoch in REPORTED:
            visits, _ = train.epochs.latest_score().visits()
            found["losses"][epoch] = rank_correlation(
                train.scores, fidelity.true_losses(model, task)
            )
            found["visits"][epoch] = rank_correlation(train.scores, visits)
    return {**found, "saved": train.summary().share_saved, "accuracy": accuracy(model, task)}


def both_starts(count: int) -> dict[str, tuple[Any, int]]:
    """Return BLS with both initial values, to read another score's training; see `readers`."""
    base = NoPrune(range(count), EPOCHS)
    return {str(each): (fidelity.Ours(BLS(base, initial=each)), 1) for each in STARTS}


def rank_correlation(scores: Tensor, values: Any) -> float:
    return float(spearmanr(scores, values).statistic)


@torch.no_grad()
def accuracy(model: torch.nn.Module, task: Task) -> float:
    model.eval()
    labels = task.test_labels[:TESTED]
    parts = [model(inputs).argmax(1) for inputs in task.test_inputs[:TESTED].split(500)]
    return float((torch.cat(parts) == labels).float().mean())


def print_tables(results: list[dict[str, Any]]) -> None:
    """Print means over seeds for both initial values, and their differences paired by seed.

    The value of a seed in a cell is the mean over both methods; the last rows are over all cells.
    """
    runs = {
        (e["method"], e["task"], e["batch_size"], e["seed"], e["initial"]): numbers(e)
        for e in results
    }
    print("\n| task | batch | start | seeds | losses: epoch 5 | 10 | 20 | 30 "
          "| visits: epoch 20 | accuracy, % |")  # fmt: skip
    print("| --- | ---: | --- | ---: |" + " ---: |" * 6)
    over_all: dict[str, list[NDArray[np.float64]]] = {method: [] for method in METHODS}
    for task, size in sorted(CELLS):
        pairs: list[list[NDArray[np.float64]]] = []
        for seed in sorted({key[3] for key in runs if key[1:3] == (task, size)}):
            found = [
                [runs.get((method, task, size, seed, start)) for start in STARTS]
                for method in METHODS
            ]
            if any(each is None for pair in found for each in pair):
                continue
            values = np.array(found)  # method, start, number
            pairs.append([values[:, 0].mean(0), values[:, 1].mean(0)])
            for method, (first, zero) in zip(METHODS, values, strict=True):
                over_all[method].append(zero - first)
        if len(pairs) > 1:
            first, zero = np.array(pairs).swapaxes(0, 1)
            for name, values in (("first", first), ("0", zero), ("0 − first", zero - first)):
                print_row(f"{task} | {size} | {name}", values, "−" in name)
    for method, differences in over_all.items():
        print_row(f"all, {method} | | 0 − first", np.array(differences), True)


def print_row(name: str, values: NDArray[np.float64], is_sign: bool) -> None:
    *correlations, accuracies = [mean_of(column.tolist()) for column in values.T]
    cells = [each.text(digits=2, sign=is_sign) for each in correlations]
    print(f"| {name} | {len(values)} | {' | '.join(cells)} | {accuracies.percent(sign=is_sign)} |")


def print_read(results: list[dict[str, Any]]) -> None:
    """Print correlations with losses if both scores read one training that KalmanBLS prunes."""
    print(
        "\n| task | batch | start | seeds | "
        + " | ".join(f"epoch {e}" for e in fidelity.REPORTED)
        + " |"
    )
    print("| --- | ---: | --- | ---: |" + " ---: |" * len(fidelity.REPORTED))
    for task, size in sorted(READ_CELLS):
        runs = [e["scores"] for e in results if (e["task"], e["batch_size"]) == (task, size)]
        for start in map(str, STARTS) if len(runs) > 1 else ():
            found = [[one[start][str(epoch)][0] for one in runs] for epoch in fidelity.REPORTED]
            cells = " | ".join(mean_of(each).text(digits=2) for each in found)
            print(f"| {task} | {size} | {start} | {len(runs)} | {cells} |")


def numbers(one: dict[str, Any]) -> list[float]:
    correlations = [one["losses"][str(epoch)] for epoch in (5, 10, 20, 30)]
    return [*correlations, one["visits"]["20"], one["accuracy"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of the data sets; see tasks.py")
    parser.add_argument("--out", type=Path, default=RESULTS / "initial.jsonl")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tasks", default=",".join(("digits", *NAMES)))
    parser.add_argument("--read", action="store_true", help="prune by KalmanBLS")
    parser.add_argument("--tables", action="store_true", help="print results without training")
    given = parser.parse_args()
    runs = Runs(given.out)
    if not given.tables:
        torch.set_num_threads(1)
        for seed in range(given.seeds):
            for name, batch_size in READ_CELLS if given.read else CELLS:
                if name not in given.tasks.split(","):
                    continue
                task = task_of(name, given.root, seed)
                if given.read:
                    key = {"task": name, "batch_size": batch_size, "seed": seed, "method": READ}
                    runs.do(key, fidelity.run, task, batch_size, seed, True, both_starts)
                    continue
                for method in METHODS:
                    for initial in STARTS:
                        key = {"task": name, "batch_size": batch_size, "seed": seed}
                        key |= {"method": method, "initial": initial}
                        runs.do(key, run, task, batch_size, seed, method, initial)
    results = json.loads(json.dumps(runs.results))  # so that all keys are strings
    print_tables([each for each in results if each["method"] != READ])
    print_read([each for each in results if each["method"] == READ])


if __name__ == "__main__":
    main()
