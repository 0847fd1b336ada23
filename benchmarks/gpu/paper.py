"""Stage `paper`: the recipe of the paper, ResNet-18 for 200 epochs, full and by BLS-InfoBatch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from cifar10 import data_of
from session import Session, aligned
from torch import nn
from trainer import Rule, Trainer, train_run

from dynaprune import BLS, InfoBatch, NoPrune, PrunedDataset
from dynaprune.bench.lars import LARS
from dynaprune.bench.variants import FULL

sys.path.append(str(Path(__file__).parents[1]))  # the zoo is beside this folder
from zoo.models.resnet import ResNet
from zoo.presets.paper_cifar import SMOOTHING, PaperCifar

PUBLISHED = "bls-infobatch, as published"

MADE: dict[str, Callable[[Any, int, int], PrunedDataset]] = {
    FULL: lambda samples, epochs, seed: NoPrune(samples, epochs, seed=seed),
    # the arguments of the paper: half of what is below the mean, full epochs in the last eighth
    PUBLISHED: lambda samples, epochs, seed: BLS(InfoBatch(samples, epochs, seed=seed)).proxy(),
}


class Rates:
    """Learning rate and momentum of the preset, at a run's progress."""

    def __init__(self) -> None:
        recipe = PaperCifar.recipe
        self._recipe = recipe
        self._optimizer = LARS([nn.Parameter(torch.zeros(1))], lr=recipe.learning_rate)

    def __call__(self, progress: float) -> tuple[float, float]:
        self._recipe.set_rates(self._optimizer, progress)
        group = self._optimizer.param_groups[0]
        return group["lr"], group["momentum"]


def work(session: Session) -> None:
    """Make the runs that are missing, each if there is time for all of it."""
    data = data_of(session)
    torch.backends.cudnn.benchmark = True
    recipe = PaperCifar.recipe
    trust = LARS([nn.Parameter(torch.zeros(1))], lr=1.0).defaults["trust"]
    rule = Rule(recipe.weight_decay, trust)
    width, batch, epochs = (4, 32, 2) if session.toy else (64, recipe.batch_size, recipe.epochs)
    trainer = Trainer(lambda: ResNet(3, 10, width), data, batch, rule, SMOOTHING)
    samples, rates = range(len(trainer.labels)), Rates()
    # one epoch tells what a run takes
    tried = train_run(trainer, NoPrune(samples, 1), rates, 0)
    for seed in range(1 if session.toy else 5):
        for way, make in MADE.items():
            if session.results.has(way=way, seed=seed):
                continue
            if session.left() < 1.05 * epochs * tried.seconds:
                print(f"paper: no time for {way}, of {epochs * tried.seconds:.0f} s", flush=True)
                return
            train = make(samples, epochs, seed)
            trained = train_run(trainer, train, rates, seed)
            session.results.add({"way": way, "epochs": epochs, "seed": seed, **asdict(trained)})


def table(records: list[dict[str, Any]]) -> str:
    """Return each run."""
    rows = [["way", "seed", "accuracy %", "visits", "s"]]
    for each in records:
        accuracy = f"{100 * each['accuracy']:.2f}"
        visits, seconds = f"{each['visits']:,}", f"{each['seconds']:.0f}"
        rows.append([each["way"], str(each["seed"]), accuracy, visits, seconds])
    return aligned(rows)
