"""What dynaprune itself costs, beside plain textbook code in the same run.

    python benchmarks/overhead.py

A step: `update` with a mean loss at batch size 128, and the hand-over of the batch's indices that
the loader does before it. Textbook: scores on the host, written in every step.

An epoch: the plan for 1,000,000 samples. Textbook InfoBatch: `np.random.choice` and a shuffled
Python list. Textbook SeTa: scikit-learn's KMeans, and samples put into groups one by one.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.cluster import KMeans
from torch import Tensor

from dynaprune import BLS, InfoBatch, PrunedDataset, SeTa
from dynaprune.plan import epoch_generator, make_plan

BATCH = 128


class TextbookBLS:
    """Scores every step, as one would write it down from the formula."""

    def __init__(self, num_samples: int, weights: Tensor, alpha: float = 0.7) -> None:
        self.scores = torch.ones(num_samples)
        self.weights = weights
        self.alpha = alpha

    def update(self, loss: Tensor, indices: Tensor) -> Tensor:
        value = loss.detach().cpu()
        self.scores[indices] = self.alpha * self.scores[indices] + (1 - self.alpha) * value
        return loss * self.weights[indices].to(loss.device).mean()


def textbook_infobatch(scores: Tensor, prune_ratio: float = 0.5) -> tuple[list[int], Tensor]:
    below = (scores < scores.mean()).numpy()
    candidates = np.where(below)[0]
    kept = np.where(~below)[0].tolist()
    selected = np.random.choice(  # noqa: NPY002
        candidates, int((1 - prune_ratio) * len(candidates)), replace=False
    )
    weights = torch.ones(len(scores))
    weights[selected] = 1 / (1 - prune_ratio)
    kept.extend(selected.tolist())
    random.shuffle(kept)
    return kept, weights


def textbook_seta(
    scores: Tensor, epoch: int, prune_ratio: float = 0.1, num_groups: int = 5, width: int = 4
) -> list[int]:
    kept = np.random.permutation(len(scores))[: int((1 - prune_ratio) * len(scores))]  # noqa: NPY002
    values = scores.numpy()[kept].reshape(-1, 1)
    kmeans = KMeans(n_clusters=num_groups, n_init=1, random_state=0).fit(values)
    rank = np.argsort(np.argsort(kmeans.cluster_centers_.ravel()))
    groups: list[list[int]] = [[] for _ in range(num_groups)]
    for index, label in zip(kept.tolist(), kmeans.labels_.tolist(), strict=True):
        groups[rank[label]].append(index)
    first = epoch % (num_groups - width + 1)
    chosen = [index for group in groups[first : first + width] for index in group]
    random.shuffle(chosen)
    return chosen


def seconds_of(call: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(times)


def with_weights(num_samples: int) -> tuple[PrunedDataset, Tensor]:
    """Return BLS-InfoBatch in an epoch in which half of the samples have a weight of 2."""
    train: PrunedDataset = BLS(InfoBatch(range(num_samples), 100)).proxy()
    train.begin_epoch()
    train.update(scores_of(num_samples), indices=torch.arange(num_samples))
    train.end_epoch()
    train.begin_epoch()
    weights = train.weights
    assert weights.max() > 1
    return train, weights


def scores_of(num_samples: int) -> Tensor:
    """Return scores such as losses are: most of them low, a few high."""
    return torch.from_numpy(np.random.default_rng(0).lognormal(size=num_samples)).float()


def time_steps(num_samples: int, steps: int, repeats: int) -> dict[str, float]:
    """Return the seconds a step: hand-over, update, both, and the textbook's update."""
    train, weights = with_weights(num_samples)
    textbook = TextbookBLS(num_samples, weights)
    indices = torch.randint(num_samples, (BATCH,), generator=torch.Generator().manual_seed(0))
    batch = indices.numpy()
    loss = torch.tensor(2.0, requires_grad=True) * 1.5  # a loss of a graph, as in training

    def hand_over() -> None:
        current = train.open_pass()
        train.begin_epoch()
        for _ in range(steps):
            train.hand_over(current, batch)

    def both() -> None:
        current = train.open_pass()
        train.begin_epoch()
        for _ in range(steps):
            train.hand_over(current, batch)
            train.update(loss)

    def theirs() -> None:
        for _ in range(steps):
            textbook.update(loss, indices)

    found = {"hand-over": [], "both": [], "textbook": []}
    for _ in range(repeats):  # in turns, so that a change of the machine's speed meets all
        found["textbook"].append(seconds_of(theirs, 1) / steps)
        found["hand-over"].append(seconds_of(hand_over, 1) / steps)
        found["both"].append(seconds_of(both, 1) / steps)
        train._record = type(train._record)()  # forget these updates: the epoch goes on
    result = {name: median(times) for name, times in found.items()}
    result["update"] = result["both"] - result["hand-over"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    samples = options.samples

    table = Table(title=f"{samples:,} samples, batches of {BATCH}, torch {torch.__version__}")
    table.add_column("what")
    for name in ("dynaprune", "textbook", "ratio"):
        table.add_column(name, justify="right")

    def row(what: str, ours: float, theirs: float, unit: str) -> None:
        scale = {"µs": 1e6, "ms": 1e3}[unit]
        table.add_row(
            what,
            f"{ours * scale:,.1f} {unit}",
            f"{theirs * scale:,.1f} {unit}",
            f"{theirs / ours:.1f}×",
        )

    steps = time_steps(samples, options.steps, options.repeats)
    row("step: update", steps["update"], steps["textbook"], "µs")
    row("step: update and hand-over of indices", steps["both"], steps["textbook"], "µs")

    scores = scores_of(samples)
    infobatch, seta = InfoBatch(range(samples), 100), SeTa(range(samples), 100)

    def plan(train: PrunedDataset) -> list[int]:
        selection = train.select(scores, 1, epoch_generator(0, 1))
        return len(make_plan(selection, samples, 1, 0))

    row(
        "epoch: InfoBatch plan",
        seconds_of(lambda: plan(infobatch), options.repeats),
        seconds_of(lambda: textbook_infobatch(scores), 3),
        "ms",
    )
    row(
        "epoch: SeTa plan",
        seconds_of(lambda: plan(seta), options.repeats),
        seconds_of(lambda: textbook_seta(scores, 1), 3),
        "ms",
    )
    Console().print(table)


if __name__ == "__main__":
    main()
