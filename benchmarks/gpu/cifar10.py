"""Stage `cifar10`: ways to skip samples of CIFAR-10, at equal visits, many seeds of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from data import Data, load, toy
from network import Network
from session import Session, aligned
from trainer import Reads, Rule, Trainer, train_run

from dynaprune import NoPrune, PrunedDataset
from dynaprune.bench.recipe import one_cycle
from dynaprune.bench.variants import FULL, VARIANTS

RATE, MOMENTUM = 0.1, 0.9  # the rate is that of stage `rates`
BATCH = 128

HARDEST = "hardest-of-batch"
CHOICES = (
    "fewer-epochs",
    "random",
    "infobatch",
    "seta",
    "bls-infobatch",
    "bls-seta",
    "slices-infobatch",
    "order-dp",
    HARDEST,
)
UNASKED = ("random-auto", "bls-infobatch-auto", "skip-converged")
"""Ways that save what they like."""

BUDGETS = (0.3, 0.5)
LENGTHS = (10, 40)
MAIN = ("fewer-epochs", "random", "infobatch", "bls-infobatch")
"""The choices that a first answer needs: they come before the others, three seeds of each."""
ROUND = 5
"""Seeds of one length before those of the next begin: as many as a test of five seeds needs."""


@dataclass(frozen=True)
class Planned:
    """A run to be made."""

    way: str
    epochs: int
    saved: float
    seed: int


def plan(lengths: tuple[int, ...] = LENGTHS, seeds: int = 20) -> Iterator[Planned]:
    """Yield all runs, in their order: seed by seed, so that a cut leaves whole pairs.

    What the first answer needs comes first.
    """
    runs: dict[Planned, None] = {}  # in the order of their first mention
    for epochs, seed in product(lengths, range(min(3, seeds))):
        runs |= dict.fromkeys(_runs(epochs, seed, (), MAIN))
    for seed in range(min(ROUND, seeds)):
        runs |= dict.fromkeys(_runs(lengths[-1], seed, UNASKED, MAIN))
    for first in range(0, seeds, ROUND):
        for epochs, seed in product(lengths, range(first, min(first + ROUND, seeds))):
            runs |= dict.fromkeys(_runs(epochs, seed, UNASKED, CHOICES))
    yield from runs


def _runs(
    epochs: int, seed: int, unasked: tuple[str, ...], choices: tuple[str, ...]
) -> Iterator[Planned]:
    for way in (FULL, *unasked):
        yield Planned(way, epochs, 0.0, seed)
    for saved, way in product(BUDGETS, choices):
        yield Planned(way, epochs, saved, seed)


def data_of(session: Session) -> Data:
    """Return the data of a session, small ones if it is a toy."""
    if session.toy:
        return toy(session.device, torch.float32)
    half = torch.bfloat16 if session.device.type == "cuda" else torch.float32
    return load(session.data, session.device, half)


def trainer_of(session: Session, data: Data) -> Trainer:
    """Return what trains the network."""
    torch.backends.cudnn.benchmark = True
    width, batch = (8, 32) if session.toy else (64, BATCH)
    return Trainer(lambda: Network(width), data, batch, Rule())


def rates(progress: float, highest: float = RATE) -> tuple[float, float]:
    """Return the learning rate and the momentum at a run's progress."""
    return highest * one_cycle(progress), MOMENTUM


def make(trainer: Trainer, planned: Planned) -> dict[str, Any]:
    """Make a run, and return its result."""
    samples = range(len(trainer.labels))
    reads: Reads = "mean"
    kept = 0
    if planned.way == HARDEST:
        train: PrunedDataset = NoPrune(samples, planned.epochs, seed=planned.seed)
        reads, kept = "hardest", round((1 - planned.saved) * trainer.batch_size)
    else:
        variant = VARIANTS[planned.way]
        train = variant.make(samples, planned.epochs, planned.seed, planned.saved)
        reads = variant.reads
    trained = train_run(trainer, train, rates, planned.seed, reads, kept)
    return asdict(planned) | asdict(trained)


def work(session: Session) -> None:
    """Make the runs that are missing, as far as time allows."""
    trainer = trainer_of(session, data_of(session))
    lengths, seeds = ((2, 3), 1) if session.toy else (LENGTHS, 20)
    session.make_missing(plan(lengths, seeds), partial(make, trainer), size)


def size(planned: Planned) -> float:
    """Return how long a run takes, in epochs of full training, about."""
    # its forward passes over everything take more time than it saves
    return planned.epochs * (1.3 if planned.way == HARDEST else 1 - planned.saved)


def table(records: list[dict[str, Any]]) -> str:
    """Return the mean accuracies, and the mean differences from full training of the same seed."""
    rows = [["epochs, saved, way", "seeds", "visits saved %", "accuracy %", "- full", "s"]]
    keys = dict.fromkeys((each["epochs"], each["saved"], each["way"]) for each in records)
    full = {(each["epochs"], each["seed"]): each for each in records if each["way"] == FULL}
    for epochs, saved, way in sorted(keys, key=lambda key: key[:2]):
        runs = [r for r in records if (r["epochs"], r["saved"], r["way"]) == (epochs, saved, way)]
        pairs = [(r, full[epochs, r["seed"]]) for r in runs if (epochs, r["seed"]) in full]
        if not pairs:
            continue
        less = [1 - run["visits"] / whole["visits"] for run, whole in pairs]
        gain = [run["accuracy"] - whole["accuracy"] for run, whole in pairs]
        rows.append(
            [
                f"{epochs}, {saved:.0%}, {way}",
                str(len(pairs)),
                f"{100 * _mean(less):.1f}",
                f"{100 * _mean([run['accuracy'] for run, _ in pairs]):.2f}",
                f"{100 * _mean(gain):+.2f}",
                f"{_mean([run['seconds'] for run, _ in pairs]):.1f}",
            ]
        )
    return aligned(rows)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
