"""What random sequences of actions have found."""

from __future__ import annotations

import math
from collections import deque

import pytest
from helpers import bls, mean_loss
from loop_model import LENGTH, SIZE, Kept, Repeating

from dynaprune import DataLoader, InfoBatch
from dynaprune.tracking.recording.reader import read_epochs


def training(length=60):
    train = bls(InfoBatch, length)
    return train, DataLoader(train, batch_size=5)


def fetched(iterator):
    return next(iterator)


def step(train, iterator):
    batch = next(iterator)
    train.update(mean_loss(batch))
    return batch


def test_a_loop_of_the_next_epoch_from_before_a_state_was_loaded():
    """It must not end the epoch that the state is in the middle of."""
    train, loader = training()
    batches = iter(loader)
    step(train, batches)
    state = train.state_dict()
    for batch in batches:
        train.update(mean_loss(batch))
    old = iter(loader)
    step(train, old)
    train.load_state_dict(state)
    new = iter(loader)
    step(train, new)
    batch = next(old)
    with pytest.raises(RuntimeError, match=r"before load_state_dict\(\) was called"):
        train.update(mean_loss(batch), batch=batch)
    assert (train.epoch, train.summary().visits_made) == (0, 10)


def test_a_batch_of_an_epoch_that_was_ended_is_not_taken_for_that_of_a_look():
    train, loader = training()
    batches = iter(loader)
    step(train, batches)
    look = iter(loader)
    kept = next(look)
    train.end_epoch()
    batch = next(batches)
    with pytest.raises(RuntimeError, match="several iterators"):
        train.update(mean_loss(batch))
    assert kept is not None
    assert train.summary().visits_made == 5


def test_a_run_that_was_taken_for_a_look_and_goes_on():
    train, loader = training()
    one = iter(loader)
    held = next(one)
    other = iter(loader)
    first = next(other)
    train.update(mean_loss(first))  # of the last batch, in a run's first step
    assert held is not None
    third = iter(loader)
    kept = next(third)
    batch = next(one)
    with pytest.raises(RuntimeError, match="several iterators"):
        train.update(mean_loss(batch))
    train.update(mean_loss(batch), batch=batch)
    assert kept is not None
    del third, kept
    step(train, one)  # said once, it is known


def test_after_a_batch_that_was_said_those_before_it_wait_no_longer():
    train, loader = training()
    batches = iter(loader)
    fetched(batches)
    batch = fetched(batches)
    train.update(mean_loss(batch), batch=batch)
    del batch
    train.update(mean_loss(fetched(batches)))
    assert train.summary().visits_made == 10


def test_batches_of_ones_own_sampler_in_an_epoch_that_is_begun_while_another_is_open():
    train = bls(Kept, LENGTH)
    loader = DataLoader(train, batch_sampler=Repeating(train.sampler))
    first = iter(loader)
    step(train, first)
    second = iter(loader)
    step(train, second)
    assert train.epoch == 1
    visits = 2 * int(train.weights.ne(1).sum())  # Kept weighs all that it keeps
    assert visits < 2 * LENGTH - SIZE
    assert train.progress == pytest.approx(1 + 1 / math.ceil(visits / SIZE))
    for batch in second:
        train.update(mean_loss(batch))
    assert train.progress == 2


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("way", ["batch", "indices", "indices of a copy"])
@pytest.mark.parametrize("records", [False, True])
def test_a_loop_that_fetches_ahead_updates_its_last_batches_after_the_loader_has_ended(
    depth, way, records, tmp_path
):
    train, loader = training()
    if records:
        train.record(tmp_path)
    visits = 0
    for epoch in range(3):
        waiting, served = deque(), []

        def update(batch, served=served):
            assert train.epoch == epoch  # noqa: B023
            given = {"batch": batch} if way == "batch" else {"indices": batch}
            train.update(mean_loss(batch), **given)
            served += batch.tolist()

        for batch in loader:
            waiting.append(batch.clone() if way == "indices of a copy" else batch)
            del batch
            if len(waiting) > depth:
                update(waiting.popleft())
        while waiting:
            update(waiting.popleft())
        assert len(served) == len(set(served))
        visits += len(served)
        assert train.summary().visits_made == visits
        assert (train.epoch, train.progress) == (epoch + 1, epoch + 1)
    if records:
        assert sum(each.visits for each in read_epochs(tmp_path)) == visits


def test_two_iterators_that_are_planned_by_the_same_scores_serve_one_epoch():
    train, loader = training()
    first = iter(loader)
    step(train, first)
    one = iter(loader)
    batch = next(one)
    next(first)  # skipped: nothing that is known has changed
    other = iter(loader)
    kept = next(other)
    train.update(mean_loss(kept), batch=kept)
    train.update(mean_loss(batch), batch=batch)
    assert train.epoch == 1


def test_an_epoch_that_was_planned_before_the_one_before_was_trained_on():
    train, loader = training()
    first = iter(loader)
    step(train, first)
    one = iter(loader)
    batch = next(one)
    step_said(train, first)
    other = iter(loader)
    step_said(train, other)
    with pytest.raises(RuntimeError, match="another loop has trained more of that"):
        train.update(mean_loss(batch), batch=batch)


def step_said(train, iterator):
    batch = next(iterator)
    train.update(mean_loss(batch), batch=batch)
