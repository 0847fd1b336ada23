"""Loaders that keep their own state, as torchdata's StatefulDataLoader does."""

from __future__ import annotations

import copy

import pytest
from helpers import (
    Numbers,
    bls,
    mean_loss,
)
from stopped_runs import train_on
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.stateful import Stateful

from dynaprune import (
    DataLoader,
    InfoBatch,
    NoPrune,
)

# The protocol of torchdata


def test_the_loader_is_stateful():
    loader = DataLoader(bls(InfoBatch, 60), batch_size=7)
    assert isinstance(loader, Stateful)
    plain = DataLoader(Numbers(10))
    assert plain.state_dict() == {}
    plain.load_state_dict({})
    with pytest.raises(RuntimeError, match="serves a Numbers, which is not pruned"):
        plain.load_state_dict(loader.state_dict())


def test_a_stateful_dataloader_without_the_state_of_the_dataset():
    train = bls(InfoBatch, 60)
    served, _ = train_on(train, 2)
    loader = StatefulDataLoader(train.with_indices(), batch_size=7, sampler=train.sampler)
    next(iter(loader))
    state = loader.state_dict()
    assert served
    other = bls(InfoBatch, 60)
    loader = StatefulDataLoader(other.with_indices(), batch_size=7, sampler=other.sampler)
    loader.load_state_dict(state)
    with pytest.raises(RuntimeError, match="taken in epoch 2, but .* in epoch 0: .* first"):
        next(iter(loader))


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("save_loader", [True, False])
def test_inside_a_stateful_dataloader(workers, save_loader, every):
    """It keeps count of batches, and skips those since its last snapshot."""

    def make():
        train = bls(InfoBatch, 60)
        loader = StatefulDataLoader(
            train.with_indices(),
            batch_size=7,
            sampler=train.sampler,
            num_workers=workers,
            snapshot_every_n_steps=every,
        )
        return train, loader

    def run(train, loader, stop_after=None):
        served = []
        for epoch in range(train.epoch, 4):
            for numbers, indices in loader:
                assert numbers.equal(indices)
                train.update(mean_loss(numbers), indices=indices)
                served.append((epoch, numbers.tolist()))
                if len(served) == stop_after:
                    return served, copy.deepcopy((train.state_dict(), loader.state_dict()))
            train.end_epoch()
        return served, None

    whole = make()
    expected, _ = run(*whole)
    served, states = [], None
    for steps in (3, 4, 8, 2, 100):
        train, loader = make()
        if states is not None:
            train.load_state_dict(states[0])
            if save_loader:
                loader.load_state_dict(states[1])
        more, states = run(train, loader, stop_after=steps)
        served += more
    assert served == expected
    assert train.scores.equal(whole[0].scores)


def test_a_stateful_dataloader_that_will_skip_batches_of_the_next_epoch(caplog):
    train = bls(NoPrune, 60)
    loader = StatefulDataLoader(
        train.with_indices(),
        batch_size=6,
        sampler=train.sampler,
        num_workers=1,
        snapshot_every_n_steps=4,
    )
    for numbers, indices in loader:
        train.update(mean_loss(numbers), indices=indices)
        states = copy.deepcopy((train.state_dict(), loader.state_dict()))
    train.load_state_dict(states[0])
    loader.load_state_dict(states[1])
    next(iter(loader))
    assert "state is from epoch 0, 12 samples before its end, but the pruned dataset" in caplog.text
    assert "load it alone" in caplog.text
