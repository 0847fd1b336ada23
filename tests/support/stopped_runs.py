"""Runs that stop in the middle of an epoch."""

from __future__ import annotations

import torch
from helpers import mean_loss

from dynaprune import DataLoader

EPOCHS = 5


def train_on(train, epochs=EPOCHS, *, stop_after=None, loss_of=mean_loss, **arguments):
    """Train from where `train` is, and return (epoch, samples) of each batch.

    After `stop_after` batches a state is taken and the rest of the run thrown away.
    """
    loader = DataLoader(train, **{"batch_size": 7, **arguments})
    served = []
    for epoch in range(train.epoch, epochs):
        for batch in loader:
            train.update(loss_of(torch.atleast_1d(batch)))
            served.append((epoch, torch.atleast_1d(batch).tolist()))
            if len(served) == stop_after:
                return served, loader.state_dict()
    return served, train.state_dict()
