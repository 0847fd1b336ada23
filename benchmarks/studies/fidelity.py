"""How well scores order the samples: rank correlation with true losses, epoch by epoch.

    python benchmarks/studies/fidelity.py --root DATA    # trains; continues where it stopped
    python benchmarks/studies/fidelity.py --tables       # prints the results so far

Every run trains once, and all scores read the losses of this training, so they differ in nothing
else. The true loss of a sample is that of the model after the epoch, in evaluation mode. In runs
with pruning, InfoBatch prunes by KalmanBLS, and all scores read the samples that it serves.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept_runs import RESULTS, Runs
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import lsqr
from scipy.stats import spearmanr
from tasks import NAMES, Task, load
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from dynaprune import BLS, InfoBatch, KalmanBLS, NoPrune, Score
from dynaprune.bench.recipe import one_cycle
from dynaprune.bench.statistics import mean_of
from dynaprune.losses.measurements import Measurements
from dynaprune.scores.windows import Windows

EPOCHS = 30
REPORTED = (2, 5, 10, 20, 30)
BATCH_SIZES = (4, 16, 64, 128)
SAMPLES = {"images": 2000, "text": 3000, "audio": 2700}
SLICES = 8


@dataclass
class Linear:
    """The Kalman filter on raw losses instead of normal scores, step by step."""

    num_samples: int
    noise: float = 1.0
    drift: float = 0.02
    level: float | None = None
    reliability: float = math.nan

    def __post_init__(self) -> None:
        self.excess, self.variances = np.zeros(self.num_samples), np.ones(self.num_samples)

    def fold(self, batches: Measurements) -> None:
        for batch, loss in groups(batches):
            self.level = loss if self.level is None else self.level
            residual = loss - self.level - self.excess[batch].mean()
            gains = self.variances[batch] / (self.variances[batch].mean() + self.noise)
            self.excess[batch] += gains * residual
            self.variances[batch] *= 1 - gains / batch.size
            self.level += 0.02 * (loss - self.level)
        self.variances = np.minimum(1, self.variances + self.drift)

    def values(self) -> NDArray[np.float64]:
        return self.excess


@dataclass
class LeastSquares:
    """The excesses that best explain all normal scores so far: ridge regression with forgetting."""

    num_samples: int
    forget: float = 0.95
    reliability: float = math.nan
    batches: list[Measurements] = field(default_factory=list)

    def fold(self, batches: Measurements) -> None:
        self.batches.append(batches)

    def values(self) -> NDArray[np.float64]:
        members, sizes, found, age = [], [], [], []
        for epoch, batches in enumerate(self.batches):
            windows = Windows(batches.sizes.numpy())
            found.append(windows.normal_scores(windows.deviations(batches.losses.double().numpy())))
            members.append(batches.indices.numpy())
            sizes.append(batches.sizes.numpy())
            age.append(np.full(len(batches), len(self.batches) - 1 - epoch))
        size = np.concatenate(sizes)
        trust = np.sqrt(self.forget ** np.concatenate(age))
        rows = np.repeat(trust / np.sqrt(size), size)
        ends = np.concatenate([[0], np.cumsum(size)])
        shape = size.size, self.num_samples
        matrix = csr_matrix((rows, np.concatenate(members), ends), shape=shape)
        solved: NDArray[np.float64] = lsqr(
            matrix, trust * np.concatenate(found), damp=1.0, iter_lim=60
        )[0]
        return solved


@dataclass
class Ours:
    """A score of the library."""

    score: Score

    def fold(self, batches: Measurements) -> None:
        self.score.update_reliability(batches)
        self.score.fold(batches)

    def values(self) -> NDArray[np.float32]:
        return self.score.values().numpy()

    @property
    def reliability(self) -> float:
        return self.score.reliability


def readers(count: int) -> dict[str, tuple[Any, int]]:
    """Return the tested scores by name, each with the number of slices per batch that it reads."""
    base = NoPrune(range(count), EPOCHS)
    found: dict[str, tuple[Any, int]] = {
        f"BLS {alpha}": (Ours(BLS(base, alpha)), 1) for alpha in (0.0, 0.5, 0.7, 0.9)
    }
    return found | {
        "KalmanBLS": (Ours(KalmanBLS(base)), 1),
        "linear filter": (Linear(count), 1),
        "least squares": (LeastSquares(count), 1),
        "BLS 0.7, 8 slices": (Ours(BLS(base)), SLICES),
        "KalmanBLS, 8 slices": (Ours(KalmanBLS(base)), SLICES),
    }


def groups(batches: Measurements) -> list[tuple[NDArray[np.int64], float]]:
    """Return the samples and the loss of each measurement."""
    ends = np.cumsum(batches.sizes.numpy())
    parts = np.split(batches.indices.numpy(), ends[:-1])
    return list(zip(parts, batches.losses.tolist(), strict=True))


def measured(steps: list[tuple[Tensor, Tensor]], slices: int) -> Measurements:
    """Return the measurements of an epoch's steps (samples and losses), in slices of batches."""
    sizes, losses, number = [], [], []
    for step, (_, loss) in enumerate(steps):
        parts = loss.split(-(-loss.numel() // slices))
        sizes += [part.numel() for part in parts]
        losses += [part.mean() for part in parts]
        number += [step] * len(parts)
    indices = torch.cat([batch for batch, _ in steps])
    return Measurements(indices, torch.tensor(sizes), torch.stack(losses), torch.tensor(number))


def run(
    task: Task,
    batch_size: int,
    seed: int,
    prune: bool,
    make_readers: Callable[[int], dict[str, tuple[Any, int]]] = readers,
) -> dict[str, Any]:
    """Train once and return each score's correlation and reliability at the reported epochs."""
    torch.manual_seed(seed)
    model, count = task.make_model(), len(task.labels)
    highest = task.learning_rate * math.sqrt(batch_size / 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=highest, weight_decay=0.01)
    method: Callable[..., Any] = InfoBatch if prune else NoPrune
    train = KalmanBLS(method(task.train, EPOCHS, seed=seed)).proxy()
    loader = DataLoader(train.with_indices(), batch_size=batch_size, sampler=train.sampler)
    scores = make_readers(count)
    found: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in scores}
    for epoch in range(1, EPOCHS + 1):
        steps: list[tuple[Tensor, Tensor]] = []
        model.train()
        for (inputs, labels), indices in loader:
            optimizer.param_groups[0]["lr"] = highest * one_cycle(train.progress / EPOCHS)
            losses = cross_entropy(model(inputs), labels, reduction="none")
            steps.append((indices, losses.detach()))
            optimizer.zero_grad()
            train.update(losses.mean(), indices=indices).backward()
            optimizer.step()
        train.end_epoch()
        for reader, slices in scores.values():
            reader.fold(measured(steps, slices))
        if epoch in REPORTED:
            true = true_losses(model, task)
            for name, (reader, _) in scores.items():
                correlation = float(spearmanr(reader.values(), true).statistic)
                found[name][epoch] = correlation, reader.reliability
    return {"scores": found, "saved": train.summary().share_saved}


@torch.no_grad()
def true_losses(model: torch.nn.Module, task: Task) -> NDArray[np.float32]:
    """Return the loss of each training sample, shape (N,)."""
    model = copy.deepcopy(model).eval()
    parts = zip(task.inputs.split(500), task.labels.split(500), strict=True)
    return torch.cat([cross_entropy(model(x), y, reduction="none") for x, y in parts]).numpy()


BRIEF = ("BLS 0.7", "KalmanBLS", "BLS 0.7, 8 slices", "KalmanBLS, 8 slices")


def print_tables(results: list[dict[str, Any]], names: tuple[str, ...] | None) -> None:
    """Print means over seeds: correlations, ratios to BLS 0.7, and the error of the reliability.

    Arguments:
        results: the results of all runs.
        names: the scores to show; `None` for all.
    """
    for task in NAMES:
        for prune in (False, True):
            mine = [each for each in results if each["task"] == task and each["prune"] == prune]
            if not mine:
                continue
            saved = 100 * np.mean([each["saved"] for each in mine])
            served = f"InfoBatch skips {saved:.0f}%" if prune else "all samples served"
            print(f"\n### {task}, {served}\n")
            print("| batch | score | " + " | ".join(f"epoch {e}" for e in REPORTED) + " |")
            print("| ---: | --- |" + " ---: |" * len(REPORTED))
            for size in BATCH_SIZES:
                runs = [each["scores"] for each in mine if each["batch_size"] == size]
                for name in (names or runs[0]) if runs else ():
                    cells = [cell([one[name][str(e)][0] for one in runs]) for e in REPORTED]
                    print(f"| {size} | {name} | {' | '.join(cells)} |")
    print_aims(results)


def plot(path: Path, results: list[dict[str, Any]]) -> None:
    """Plot correlations over epochs with and without pruning, one row per task."""
    from matplotlib import pyplot

    sizes = (16, 128)
    figure, axes = pyplot.subplots(
        len(NAMES), 4, figsize=(13, 8), sharex=True, sharey=True, layout="constrained"
    )
    for row, task in enumerate(NAMES):
        for column, (size, prune) in enumerate((s, p) for s in sizes for p in (False, True)):
            mine = [e["scores"] for e in results
                    if (e["task"], e["batch_size"], e["prune"]) == (task, size, prune)]  # fmt: skip
            axis = axes[row, column]
            for number, name in enumerate(BRIEF if mine else ()):
                means = [mean_of([one[name][str(e)][0] for one in mine]) for e in REPORTED]
                axis.errorbar(
                    REPORTED,
                    [mean.value for mean in means],
                    yerr=[mean.half_width for mean in means],
                    color=f"C{number % 2}",
                    linestyle="-" if number < 2 else "--",
                    marker="os"[number % 2],
                    capsize=3,
                    label=name,
                )
            axis.axhline(0, color="gray", linewidth=0.8)
            axis.grid(alpha=0.3)
            axis.set_title(f"{task}, B = {size}, {'pruned' if prune else 'all served'}")
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    for axis in axes[:, 0]:
        axis.set_ylabel("rank correlation")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=100)


def cell(values: list[float]) -> str:
    mean = mean_of(values)
    return f"{mean.value:.2f} ± {mean.half_width:.2f}"


def print_aims(results: list[dict[str, Any]]) -> None:
    print("\n### Ratios to BLS 0.7 (means over seeds of the correlation, all samples served)\n")
    shown = ("KalmanBLS", "KalmanBLS, 8 slices", "least squares", "linear filter")
    print("| task | batch | " + " | ".join(f"{n}: 10 / 20 / 30" for n in shown) + " |")
    print("| --- | ---: |" + " ---: |" * len(shown))
    for task in NAMES:
        for size in BATCH_SIZES:
            key = task, size, False
            mine = [e for e in results if (e["task"], e["batch_size"], e["prune"]) == key]
            mine = [each["scores"] for each in mine]
            if mine:
                at = lambda name, e: np.mean([one[name][str(e)][0] for one in mine])  # noqa: B023, E731
                cells = [
                    " / ".join(f"{at(n, e) / at('BLS 0.7', e):.1f}" for e in (10, 20, 30))
                    for n in shown
                ]
                print(f"| {task} | {size} | {' | '.join(cells)} |")
    print("\n### Reliability minus true correlation, epochs 5 to 30\n")
    print("| score | served | mean | mean of seeds within 0.1 | single run within 0.1 |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in ("BLS 0.7", "KalmanBLS", "KalmanBLS, 8 slices"):
        for prune in (False, True):
            apart: dict[Any, list[float]] = {}
            for each in results:
                for epoch in REPORTED[1:]:
                    true, estimate = each["scores"][name][str(epoch)]
                    if each["prune"] == prune:
                        key = each["task"], each["batch_size"], epoch
                        apart.setdefault(key, []).append(estimate - true)
            if apart:
                every = np.concatenate(list(map(np.array, apart.values())))
                means = np.array([np.mean(values) for values in apart.values()])
                shares = [f"{100 * np.mean(np.abs(v) < 0.1):.0f}%" for v in (means, every)]
                print(f"| {name} | {'pruned' if prune else 'all'} | {every.mean():+.3f} | "
                      f"{' | '.join(shares)} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of the data sets; see tasks.py")
    parser.add_argument("--out", type=Path, default=RESULTS / "fidelity.jsonl")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", default=",".join(NAMES))
    parser.add_argument("--tables", action="store_true", help="print results without training")
    parser.add_argument("--all", action="store_true", help="print all scores")
    parser.add_argument("--plot", type=Path, help="plot results without training")
    given = parser.parse_args()
    runs = Runs(given.out)
    if not given.tables and given.plot is None:
        torch.set_num_threads(1)
        for seed in range(given.seeds):
            for name in given.tasks.split(","):
                task = load(name, given.root).first(SAMPLES[name], seed)
                for batch_size in reversed(BATCH_SIZES):
                    for prune in (False, True):
                        key = {"task": name, "batch_size": batch_size, "seed": seed, "prune": prune}
                        runs.do(key, run, task, batch_size, seed, prune)
    results = json.loads(json.dumps(runs.results))  # so that all keys are strings
    print_tables(results, None if given.all else BRIEF)
    if given.plot is not None:
        plot(given.plot, results)


if __name__ == "__main__":
    main()
