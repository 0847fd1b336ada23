"""Stage `rates`: full training at several learning rates; the best one is that of all ways."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from cifar10 import LENGTHS, data_of, rates, trainer_of
from session import Session, aligned
from trainer import train_run

from dynaprune import NoPrune

TRIED = (0.1, 0.05, 0.2)
SEED = 1000
"""None of those by which ways are compared."""


def work(session: Session) -> None:
    """Train at each rate, for the smallest number of epochs."""
    missing = [rate for rate in TRIED if not session.results.has(rate=rate, seed=SEED)]
    if not missing:
        return
    trainer = trainer_of(session, data_of(session))
    epochs = 2 if session.toy else LENGTHS[0]
    for rate in missing:
        if session.left() <= 0:
            return
        train = NoPrune(range(len(trainer.labels)), epochs, seed=SEED)
        trained = train_run(trainer, train, partial(rates, highest=rate), SEED)
        session.results.add({"rate": rate, "epochs": epochs, "seed": SEED, **asdict(trained)})


def table(records: list[dict[str, Any]]) -> str:
    """Return the accuracy at each rate."""
    rows = [["highest rate", "epochs", "accuracy %", "s"]]
    for each in sorted(records, key=lambda each: each["rate"]):
        accuracy = f"{100 * each['accuracy']:.2f}"
        rows.append([str(each["rate"]), str(each["epochs"]), accuracy, f"{each['seconds']:.1f}"])
    return aligned(rows)
