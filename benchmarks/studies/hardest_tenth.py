"""Whether the hardest tenth of each class has the kinds that are rare and have no label.

    python benchmarks/studies/hardest_tenth.py --root DATA          # goes on where it stopped
    python benchmarks/studies/hardest_tenth.py --fill docs/evidence/rare-kinds.md

The regime `hidden-rare` of the bench, with right labels and with a tenth of wrong ones. A kind
counts as rare if it is among the rarest third. "Hardest" is by the mean excess that a recording
keeps, as in a report.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from kept_runs import RESULTS, Runs, fill_page, markdown_table
from torch.utils.data import TensorDataset

from dynaprune.bench.kinds import WORST
from dynaprune.bench.regimes import REGIMES
from dynaprune.bench.registry import find_tasks
from dynaprune.bench.statistics import mean_of
from dynaprune.bench.training import train_model
from dynaprune.bench.variants import VARIANTS
from dynaprune.data.hardest import is_hardest
from dynaprune.tracking.recording import read_samples

TASKS = ("digits-cnn", "mnist5k-cnn", "spoken-digits-cnn", "trec-words", "cifar10-unpooled")
COMPARED = ("equal-infobatch", "slices-equal-infobatch")
SAVED = 0.4
WRONG = (0.0, 0.1)
SEEDS = range(5)
NAME = "hardest-tenth"


def run(root: Path, name: str, variant: str, wrong: float, seed: int) -> dict[str, Any]:
    """Train once, and return what the hardest tenth of each class has."""
    torch.set_num_threads(1)
    original = find_tasks()[name]()
    original.load(root)
    regime, chosen = REGIMES["hidden-rare"], VARIANTS[variant]
    samples = regime.samples(original, seed)
    kinds = _kinds_of(original, seed)
    labels, is_wrong = _with_wrong(samples.tensors[1], wrong, seed)
    data = TensorDataset(samples.tensors[0], labels)
    task = regime.task(original, data)
    train = chosen.make(data, task.recipe.epochs, seed, SAVED)
    with TemporaryDirectory() as folder:
        train.record(folder)
        model = train_model(task, task.recipe, train, seed, reads=chosen.reads)
        train.end_epoch()
        found = read_samples(folder)
    counts = np.bincount(kinds)
    rarest = np.argsort(counts, kind="stable")[: max(1, round(WORST * len(counts)))]
    is_rare = np.isin(kinds, rarest)
    hardest = is_hardest(found.mean_excess, labels.numpy())
    return {
        "rare": float(is_rare.mean()),
        "rare_in_hardest": float(is_rare[hardest].mean()),
        "rare_found": float(hardest[is_rare].mean()),
        "wrong_in_hardest": float(is_wrong[hardest].mean()),
        "served": float(found.visits[hardest].mean() / found.visits[~hardest].mean()),
        "quality": task.evaluate(model),
    }


def _kinds_of(task: Any, seed: int) -> np.ndarray:
    """Return the kind of each sample that the regime leaves in the training set: shape (n,)."""
    tagged = copy.copy(task)
    tagged.train = TensorDataset(task.kinds.train, task.train.tensors[1])
    return REGIMES["hidden-rare"].samples(tagged, seed).tensors[0].numpy()


def _with_wrong(labels: torch.Tensor, share: float, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Return labels, a share of them changed at random, and which were changed: shapes (n,)."""
    draw = torch.Generator().manual_seed(seed)
    is_wrong = torch.rand(len(labels), generator=draw) < share
    classes = int(labels.max()) + 1
    steps = torch.randint(1, classes, labels.shape, generator=draw)
    return torch.where(is_wrong, (labels + steps) % classes, labels), is_wrong.numpy()


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a table in Markdown, with 95% intervals."""
    heads = [
        "task",
        "losses of",
        "wrong labels %",
        "rare, of all samples %",
        "rare, of the hardest tenth %",
        "of the rare ones, in the hardest tenth %",
        "wrong, of the hardest tenth %",
        "hardest served, × the rest",
        "seeds",
    ]
    rows = []
    for name in TASKS:
        for variant in COMPARED:
            for wrong in WRONG:
                key = {"task": name, "variant": variant, "wrong": wrong}
                found = [each for each in results if key.items() <= each.items()]
                if not found:
                    continue
                shares = [
                    mean_of([each[column] for each in found]).percent()
                    for column in ("rare", "rare_in_hardest", "rare_found", "wrong_in_hardest")
                ]
                served = mean_of([each["served"] for each in found]).text(digits=2)
                losses = "slices" if variant.startswith("slices") else "samples"
                rows.append([name, losses, f"{100 * wrong:.0f}", *shares, served, str(len(found))])
    return markdown_table([heads, *rows], names=2)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="folder of data sets: train what is missing")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--fill", type=Path, help="page to fill")
    given = parser.parse_args()
    runs = Runs(RESULTS / f"{NAME}.jsonl")
    if given.root is not None:
        for seed in SEEDS:
            for name in given.tasks:
                for wrong in WRONG:
                    for variant in COMPARED:
                        key = {"task": name, "variant": variant, "wrong": wrong, "seed": seed}
                        runs.do(key, run, given.root, name, variant, wrong, seed)
    if given.fill is not None:
        fill_page(given.fill, {NAME: table(runs.results)})
    else:
        print(table(runs.results))


if __name__ == "__main__":
    main()
