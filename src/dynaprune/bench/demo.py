"""The demo: pruning against full training, and against the two baselines it has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from ..methods import InfoBatch, NoPrune, RandomPrune, SeTa
from ..pruned import PrunedDataset
from ..scores import BLS
from .data import ImageData
from .training import Recipe, Run, train_run

FULL = "full training"
MATCHED = "BLS-InfoBatch"
"""The method whose number of sample visits the baselines get."""

RECIPES = {
    "digits": Recipe(epochs=30, batch_size=32, learning_rate=0.02, threads=1),
    "mnist5k": Recipe(epochs=20, batch_size=32, learning_rate=0.02, threads=1),
    "cifar10": Recipe(epochs=15, batch_size=128, learning_rate=0.1),
}
"""How each data set is trained, by its name: chosen for what full training reaches."""


@dataclass(frozen=True)
class Method:
    """A way to train.

    Attributes:
        prune: makes a pruned dataset of a dataset, a number of epochs, a seed, and the share of
            full training's sample visits that `MATCHED` has made.
        sample_losses: whether its criterion returns a loss a sample.
        fewer_epochs: whether it stops at the sample visits of `MATCHED`.
    """

    prune: Callable[[Any, int, int, float], PrunedDataset]
    sample_losses: bool = False
    fewer_epochs: bool = False


METHODS = {
    FULL: Method(lambda data, epochs, seed, _: NoPrune(data, epochs, seed=seed)),
    "InfoBatch": Method(
        lambda data, epochs, seed, _: InfoBatch(data, epochs, seed=seed), sample_losses=True
    ),
    MATCHED: Method(lambda data, epochs, seed, _: BLS(InfoBatch(data, epochs, seed=seed)).proxy()),
    "BLS-SeTa": Method(lambda data, epochs, seed, _: BLS(SeTa(data, epochs, seed=seed)).proxy()),
    "RandomPrune": Method(
        lambda data, epochs, seed, share: RandomPrune(data, epochs, 1 - share, seed=seed)
    ),
    "fewer epochs": Method(
        lambda data, epochs, seed, _: NoPrune(data, epochs, seed=seed), fewer_epochs=True
    ),
}
"""In the order in which they run: the baselines come after the method that they are matched to."""


@dataclass(frozen=True)
class Result:
    """What one run of the demo came to.

    Attributes:
        method: a key of `METHODS`.
        seed: of the run.
        run: accuracy, sample visits and seconds.
    """

    method: str
    seed: int
    run: Run


def run_demo(
    data: ImageData,
    recipe: Recipe,
    seeds: int,
    on_epoch: Callable[[str, int, int], None] = lambda method, seed, epoch: None,
) -> Iterator[Result]:
    """Train with every method and every seed, and yield each run's result as it comes.

    All methods of a seed run one after the other, so that a machine that changes its speed does
    so for all of them. `on_epoch` is called with method, seed and the epoch that has ended.
    """
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    warm_up = replace(recipe, epochs=1)  # of the machine: the first run in a process is slower
    train_run(data, warm_up, NoPrune(data.train, warm_up.epochs), seed=0)
    total = len(data.train) * recipe.epochs
    for seed in range(seeds):
        matched = total
        for name, method in METHODS.items():
            run = train_run(
                data,
                recipe,
                method.prune(data.train, recipe.epochs, seed, matched / total),
                seed,
                sample_losses=method.sample_losses,
                max_visits=matched if method.fewer_epochs else None,
                on_epoch=partial(on_epoch, name, seed),
            )
            if name == MATCHED:
                matched = run.visits
            yield Result(name, seed, run)
