"""The effect of `TrimmedLoss(trim="auto")` on small tables, with right and with wrong labels.

    python benchmarks/studies/auto_trim.py              # trains; continues where it stopped
    python benchmarks/studies/auto_trim.py --tables     # prints the results so far

It is compared with full training, and with RandomPrune at the same number of visits. The data set
`points` has two classes on two sides of a plane; its hard samples are close to the plane, and do
not form a separate group.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import torch
from kept_runs import RESULTS, Runs
from sklearn import datasets
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from dynaprune import (
    DataLoader,
    KalmanBLS,
    NoPrune,
    PrunedDataset,
    RandomPrune,
    TrimmedLoss,
    chunked,
)
from dynaprune.bench.regimes import mislabelled
from dynaprune.bench.statistics import mean_of

DATA = ("digits", "tumours", "points")
MODELS = ("MLP", "linear")
EPOCHS = (16, 40)
WRONG = (0.0, 0.2, 0.4)
TRAINED = 0.72
"""The share of the samples in the training set: 1,300 of the digits."""


def load(name: str) -> tuple[Tensor, Tensor]:
    """Return inputs with mean 0 and standard deviation 1, shape (N, D), and classes, (N,)."""
    if name == "points":
        inputs = torch.randn(1500, 20, generator=torch.Generator().manual_seed(0))
        return inputs, (inputs[:, :3].sum(1) > 0).long()
    found = {"digits": datasets.load_digits, "tumours": datasets.load_breast_cancer}[name]()
    inputs = torch.from_numpy(found.data).float()
    return (inputs - inputs.mean(0)) / (inputs.std(0) + 1e-6), torch.from_numpy(found.target).long()


def run(name: str, kind: str, epochs: int, wrong: float, seed: int) -> dict[str, Any]:
    """Train with three methods; return their accuracies, and the share of visits saved."""
    inputs, labels = load(name)
    classes = int(labels.max()) + 1
    generator = torch.Generator().manual_seed(seed + 77_000)  # not the seed of the epochs' order
    order = torch.randperm(len(labels), generator=generator)
    chosen, test = order[: round(TRAINED * len(order))], order[round(TRAINED * len(order)) :]
    data = TensorDataset(inputs[chosen], mislabelled(labels[chosen], wrong, generator))

    def trained(train: PrunedDataset) -> float:
        torch.manual_seed(seed)
        width = inputs.shape[1]
        model: nn.Module = nn.Linear(width, classes)
        if kind == "MLP":
            model = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, classes))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        criterion = chunked(cross_entropy, chunks=8)
        loader = DataLoader(train, batch_size=64, sampler=train.sampler)
        for _ in range(epochs):
            for batch, classes_of_batch in loader:
                loss = train.update(criterion(model(batch), classes_of_batch))
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
        with torch.no_grad():
            return float((model(inputs[test]).argmax(1) == labels[test]).float().mean())

    auto = KalmanBLS(TrimmedLoss(data, epochs, seed=seed)).proxy()
    found = {"full": trained(KalmanBLS(NoPrune(data, epochs, seed=seed)).proxy())}
    found["auto"] = trained(auto)
    found["saved"] = auto.summary().share_saved
    found["random"] = trained(RandomPrune(data, epochs, saving=found["saved"], seed=seed))
    return found


def print_tables(results: list[dict[str, Any]]) -> None:
    """Print a row for each setting with trimmed samples, and the number of the other settings."""
    idle = dict.fromkeys(WRONG, 0)
    print("| data | model | epochs | wrong % | saved % (each run) | auto − full | auto − random |")
    print("| --- | --- | ---: | ---: | --- | ---: | ---: |")
    for setting in product(DATA, MODELS, EPOCHS, WRONG):
        names = ("data", "model", "epochs", "wrong")
        runs = [r for r in results if tuple(r[name] for name in names) == setting]
        if not runs:
            continue
        if not any(r["saved"] for r in runs):
            idle[setting[-1]] += 1
            continue
        saved = " ".join(f"{100 * r['saved']:.0f}" for r in runs)
        cells = [
            mean_of([r["auto"] - r[other] for r in runs]).percent(sign=True)
            for other in ("full", "random")
        ]
        data, model, epochs, wrong = setting
        print(
            f"| {data} | {model} | {epochs} | {100 * wrong:.0f} | {saved} | {' | '.join(cells)} |"
        )
    settings = len(DATA) * len(MODELS) * len(EPOCHS)
    for wrong, count in idle.items():
        print(
            f"nothing was trimmed in {count} of {settings} settings with {wrong:.0%} wrong labels"
        )


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--save", type=Path, default=RESULTS / "auto-trim.jsonl")
    parser.add_argument("--tables", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    runs = Runs(arguments.save)
    if not arguments.tables:
        torch.set_num_threads(1)
        for seed in range(arguments.seeds):
            for data, model, epochs, wrong in product(DATA, MODELS, EPOCHS, WRONG):
                key = {"data": data, "model": model, "epochs": epochs, "wrong": wrong, "seed": seed}
                runs.do(key, run, data, model, epochs, wrong, seed)
    print_tables(runs.results)


if __name__ == "__main__":
    main()
