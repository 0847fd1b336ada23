"""Runs that are recorded."""

from __future__ import annotations

from helpers import bls, mean_loss, train_epoch

from dynaprune import DataLoader, NoPrune


def make(count=40, **arguments):
    return bls(NoPrune, count, **arguments)


def run(train, epochs):
    loader = DataLoader(train, batch_size=8, sampler=train.sampler)
    for _ in range(epochs):
        train_epoch(loader, mean_loss)


def recorded(folder, epochs, **arguments):
    """Record a run and return it."""
    train = make(**arguments)
    train.record(folder)
    run(train, epochs)
    return train


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
