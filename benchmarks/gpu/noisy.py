"""Stage `noisy`: CIFAR-10N, whose labels people gave; trimming them, and finding the wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from cifar10 import data_of, rates, trainer_of
from pack import NOISY
from session import Session, aligned
from torch import Tensor
from trainer import Reads, Trainer, train_run

from dynaprune import KalmanBLS, NoPrune, PrunedDataset, SampleLoss
from dynaprune.bench.ranking import auroc, precision
from dynaprune.bench.removal import budget_of
from dynaprune.bench.variants import BASELINES, FULL, VARIANTS

TRIMMING = ("trimmed", "slices-trimmed", "kalman-trimmed")

READINGS: dict[str, tuple[Reads, Any]] = {
    FULL: ("samples", SampleLoss),
    "full, slices": ("slices", KalmanBLS),
    "full, one number": ("mean", KalmanBLS),
}
"""Full training, thrice: with each way to read the losses that wrong labels are found by."""

LENGTH = 20
SEEDS = 10


@dataclass(frozen=True)
class Planned:
    """A run to be made."""

    labels: str
    way: str
    epochs: int
    seed: int


def plan(epochs: int, seeds: int) -> Iterator[Planned]:
    """Yield all runs, seed by seed."""
    for seed in range(seeds):
        for labels in NOISY:
            for way in (*READINGS, *BASELINES, *TRIMMING):
                yield Planned(labels, way, epochs, seed)


def make(trainer: Trainer, planned: Planned, right: Tensor, given: Tensor) -> dict[str, Any]:
    """Make a run, and return its result.

    Arguments:
        trainer: trains it.
        planned: the run.
        right: int64, shape (N,): the true labels.
        given: likewise: those that it trains on.
    """
    is_wrong = (right != given).cpu().numpy()
    samples, epochs, seed = range(len(right)), planned.epochs, planned.seed
    # what TrimmedLoss saves where it takes as many samples to be wrong as are
    saved = budget_of(float(is_wrong.mean()), epochs)
    if planned.way in READINGS:
        reads, score = READINGS[planned.way]
        train: PrunedDataset = score(NoPrune(samples, epochs, seed=seed)).proxy()
    else:
        variant = VARIANTS[planned.way]
        train, reads = variant.make(samples, epochs, seed, saved), variant.reads
    found: dict[str, list[float]] = {"auroc": [], "precision": []}
    quarters = [-(-epochs * part // 4) - 1 for part in (1, 2, 3, 4)]

    def look(epoch: int) -> None:
        if epoch in quarters and planned.way in (*READINGS, *TRIMMING):
            scores = train.scores.numpy()
            found["auroc"].append(auroc(scores, is_wrong))
            found["precision"].append(precision(scores, is_wrong))

    trainer.labels.copy_(given)
    trained = train_run(trainer, train, rates, seed, reads, on_epoch=look)
    facts = {"wrong": float(is_wrong.mean()), "saved": saved}
    return asdict(planned) | facts | asdict(trained) | found


def work(session: Session) -> None:
    """Make the runs that are missing, as far as time allows."""
    data = data_of(session)
    trainer = trainer_of(session, data)
    epochs, seeds = (4, 1) if session.toy else (LENGTH, SEEDS)

    def run(planned: Planned) -> dict[str, Any]:
        return make(trainer, planned, data.labels, data.noisy[planned.labels])

    session.make_missing(plan(epochs, seeds), run, size=lambda planned: 1.0)


def table(records: list[dict[str, Any]]) -> str:
    """Return accuracies on right labels, and how well scores find the wrong ones."""
    rows = [["labels, way", "seeds", "accuracy %", "AUROC by quarter", "precision by quarter", "s"]]
    for labels, way in dict.fromkeys((each["labels"], each["way"]) for each in records):
        runs = [each for each in records if (each["labels"], each["way"]) == (labels, way)]
        rows.append(
            [
                f"{labels}, {way}",
                str(len(runs)),
                f"{100 * np.mean([run['accuracy'] for run in runs]):.2f}",
                *(_by_quarter([run[name] for run in runs]) for name in ("auroc", "precision")),
                f"{np.mean([run['seconds'] for run in runs]):.1f}",
            ]
        )
    return aligned(rows)


def _by_quarter(runs: list[list[float]]) -> str:
    return " ".join(f"{each:.3f}" for each in np.mean(runs, axis=0)) if runs[0] else ""
