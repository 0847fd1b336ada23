"""The share of the samples that hold little loss: the true one, and what batch losses tell of it.

    python benchmarks/studies/auto_budget_shares.py --root DATA --losses FOLDER    # trains
    python benchmarks/studies/auto_budget_shares.py --tables                       # prints

Each task is trained once with nothing skipped, and the loss of each sample at its visit is kept in
the folder. From the mean losses of the batches comes a coefficient of variation, and from that the
share by three families of distributions.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from auto_budget_tasks import NAMES, load
from kept_runs import RESULTS, Runs
from numpy.typing import NDArray
from scipy import special, stats

from dynaprune.scores.loss_progress import ProgressEstimate
from dynaprune.scores.loss_shape import share_of_learned

LENGTHS = (1, 3)
"""How many times as long as brief the tasks are trained."""

LOSS_SHARES = (0.01, 0.02, 0.05, 0.1)


def gamma_share(variation: float, loss_share: float) -> float:
    """Return the share of gamma distributed losses that holds `loss_share` of their sum."""
    shape = max(variation, 1e-3) ** -2
    return float(special.gammainc(shape, special.gammaincinv(shape + 1, loss_share)))


def lognormal_share(variation: float, loss_share: float) -> float:
    """Return the share of lognormal losses that holds `loss_share` of their sum."""
    sigma = np.sqrt(np.log1p(variation**2))
    return float(stats.norm.cdf(stats.norm.ppf(loss_share) + sigma))


FAMILIES = {"gamma": gamma_share, "Weibull": share_of_learned, "lognormal": lognormal_share}


def record(name: str, long: int, root: Path, seed: int = 0) -> NDArray[np.float32]:
    """Train a task, and return the loss of each sample at its visits: (epochs, batches, B)."""
    task = load(name, root, seed)
    torch.manual_seed(seed)
    model = task.make_model()
    optimizer = torch.optim.AdamW(model.parameters(), task.learning_rate, weight_decay=0.01)
    inputs, targets = task.train.tensors
    epochs, steps = task.epochs * long, len(targets) // task.batch_size
    losses = np.empty((epochs, steps, task.batch_size), dtype=np.float32)
    for epoch, step in product(range(epochs), range(steps)):
        if step == 0:
            order = torch.randperm(len(targets))
        batch = order[step * task.batch_size :][: task.batch_size]
        for group in optimizer.param_groups:
            group["lr"] = task.rate_at((epoch + step / steps) / epochs)
        each = task.losses(model(inputs[batch]), targets[batch])
        optimizer.zero_grad()
        torch.autograd.backward(each.mean())
        optimizer.step()
        losses[epoch, step] = each.detach().numpy()
    return losses


def shares(name: str, long: int, root: Path, folder: Path) -> dict[str, Any]:
    """Return, for each epoch, the variation and the shares, (epochs, loss shares), of a task."""
    path = folder / f"{name}-{long}.npz"
    if not path.exists():
        np.savez_compressed(path, losses=record(name, long, root))
    losses = np.load(path)["losses"]
    variations = [_variation(epoch) for epoch in losses]
    found = {
        family: [[share(variation, each) for each in LOSS_SHARES] for variation in variations]
        for family, share in FAMILIES.items()
    }
    found["true"] = [[_share_holding(epoch, each) for each in LOSS_SHARES] for epoch in losses]
    rounded = {kind: np.round(table, 3).tolist() for kind, table in found.items()}
    return {"batch_size": losses.shape[2], "variations": np.round(variations, 3).tolist()} | rounded


def _variation(losses: NDArray[np.float32]) -> float:
    """Return the coefficient of variation of losses, (batches, B), as their means tell it."""
    estimate = ProgressEstimate()
    estimate.add(np.full(len(losses), losses.shape[1]), losses.mean(1))
    return 0.0 if estimate.value is None else estimate.value.variation


def _share_holding(losses: NDArray[np.float32], loss_share: float) -> float:
    held = np.cumsum(np.sort(losses.ravel()), dtype=np.float64)
    return float(np.searchsorted(held, loss_share * held[-1], side="right") / losses.size)


def print_tables(results: list[dict[str, Any]]) -> None:
    """Print the shares of some epochs, and how far off each family is over all."""
    kinds = ("true", *FAMILIES)
    print(f"| task | epochs × | | {' | '.join(kinds)} |")
    print(f"| --- | ---: | --- |{' --- |' * len(kinds)}")
    for result in results:
        table = np.array([result[kind] for kind in kinds])[:, :, LOSS_SHARES.index(0.05)]
        chosen = np.linspace(1, table.shape[1] - 1, 7).round().astype(int)
        cells = [" ".join(f"{value:.2f}" for value in row[chosen]) for row in table]
        shown = " ".join(str(epoch) for epoch in chosen)
        print(f"| {result['task']} | {result['long']} | {shown} | {' | '.join(cells)} |")
    print(f"\n| loss share | family | mean error |{' root mean square |'} highest |")
    print("| ---: | --- | ---: | ---: | ---: |")
    for (place, loss_share), family in product(enumerate(LOSS_SHARES), FAMILIES):
        errors = np.concatenate(
            [np.subtract(r[family], r["true"])[:, place] for r in results]  # every epoch alike
        )
        root = np.sqrt(np.mean(errors**2))
        print(
            f"| {loss_share} | {family} | {errors.mean():+.2f} | {root:.2f} | {max(errors):+.2f} |"
        )


def main() -> None:
    """Train, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="the folder that holds the data")
    parser.add_argument("--losses", type=Path, help="a folder for the losses of the trainings")
    parser.add_argument("--save", type=Path, default=RESULTS / "studies/auto-budget-shares.jsonl")
    parser.add_argument("--tables", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    runs = Runs(arguments.save)
    if not arguments.tables:
        torch.set_num_threads(1)
        for name, long in product(NAMES, LENGTHS):
            key = {"task": name, "long": long}
            runs.do(key, shares, name, long, arguments.root, arguments.losses)
    print_tables(runs.results)


if __name__ == "__main__":
    main()
