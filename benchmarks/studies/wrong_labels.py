"""The results of `audit` in runs with known wrong labels.

    python benchmarks/studies/wrong_labels.py --root DATA    # trains; continues where it stopped
    python benchmarks/studies/wrong_labels.py --tables       # prints the results so far

Each run trains on everything, scored by KalmanBLS, and is audited after a quarter and half of it,
and at its end. Whether losses reveal wrong labels depends on whether the model has memorized them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from kept_runs import Runs
from tasks import NAMES, Task, load
from torch.nn.functional import cross_entropy

from dynaprune import DataLoader, KalmanBLS, NoPrune, audit
from dynaprune.bench.recipe import one_cycle
from dynaprune.bench.statistics import mean_of

EPOCHS = 30
AUDITED = (8, 15, 30)
SHARES = (0.0, 0.2, 0.4)
SAMPLES = {"images": 2000, "text": 3000, "audio": 2700}


def loss_of(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    inputs, labels = batch
    return cross_entropy(model(inputs), labels)


def run(task: Task, batch_size: int, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = task.make_model()
    train = KalmanBLS(NoPrune(task.train, EPOCHS, seed=seed)).proxy()
    loader = DataLoader(train, batch_size=batch_size, sampler=train.sampler)
    rate = task.learning_rate * (batch_size / 64) ** 0.5
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
    audits = {}
    for epoch in range(1, EPOCHS + 1):
        model.train()
        for batch in loader:
            optimizer.param_groups[0]["lr"] = rate * one_cycle(train.progress / EPOCHS)
            loss = train.update(loss_of(model, batch))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        if epoch in AUDITED:
            found = audit(train, model, loss_of, seed=seed)
            audits[str(epoch)] = {
                "outlier_share": found.outlier_share,
                "correlation": found.correlation.value,
                "low": found.correlation.low,
                "high": found.correlation.high,
                "reliability": found.reliability,
                "seconds": found.seconds,
            }
    return {"audits": audits}


def print_tables(results: list[dict[str, Any]]) -> None:
    print(
        "\nshare with distinctly higher losses, % (each run), after epoch "
        + " / ".join(map(str, AUDITED))
    )
    for name in NAMES:
        for share in SHARES:
            runs = [r for r in results if (r["task"], r["wrong"]) == (name, share)]
            if not runs:
                continue
            cells = [
                " ".join(f"{100 * r['audits'][str(epoch)]['outlier_share']:.0f}" for r in runs)
                for epoch in AUDITED
            ]
            print(f"| {name} | {100 * share:.0f} wrong | " + " | ".join(cells) + " |")
    print("\nrank correlation of scores and true losses, measured, and estimated without a pass")
    for name in NAMES:
        for size in sorted({r["batch_size"] for r in results if r["task"] == name}):
            runs = [r for r in results if (r["task"], r["batch_size"]) == (name, size)]
            cells = []
            for epoch in AUDITED:
                each = [r["audits"][str(epoch)] for r in runs]
                measured = mean_of([audit["correlation"] for audit in each])
                estimated = mean_of([audit["reliability"] for audit in each])
                cells.append(f"{measured.value:.2f}, {estimated.value:.2f}")
            print(f"| {name} | batch {size} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of the tasks' data; see tasks.py")
    parser.add_argument("--tasks", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--save", type=Path, default=Path("runs/wrong_labels.jsonl"))
    parser.add_argument("--tables", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    runs = Runs(arguments.save)
    if not arguments.tables:
        if arguments.root is None:
            parser.error("--root is needed to train")
        torch.set_num_threads(1)
        for seed in range(arguments.seeds):
            for name in arguments.tasks:
                for size in arguments.batch_sizes:
                    for share in SHARES:
                        task = load(name, arguments.root).first(SAMPLES[name], seed)
                        task, _ = task.mislabelled(share, seed)
                        key = {"task": name, "batch_size": size, "seed": seed, "wrong": share}
                        runs.do(key, run, task, size, seed)
    print_tables(runs.results)


if __name__ == "__main__":
    main()
