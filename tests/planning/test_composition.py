"""Batches composed by weight: what they hold, and that the bias of one number a batch is gone."""

from __future__ import annotations

import pytest
import torch
from helpers import Numbers, set_current, with_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, PrunedIterableDataset, chunked


def made(length: int = 200, **arguments):
    """Return an InfoBatch after an epoch in which three in four samples are easy."""
    scores = torch.where(torch.arange(length) % 4 > 0, 0.1, 2.0)
    return with_scores(InfoBatch(Numbers(length), 20, **arguments), scores)


def batches_of(train, size):
    return torch.tensor(list(train.sampler)).split(size)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(8, 200), size=st.integers(1, 40), seed=st.integers(0, 50))
def test_batches_are_as_drawn_and_sorted_inside(length, size, seed):
    plain = made(length, seed=seed)
    composed = made(length, seed=seed, batch_size=size)
    assert composed.weights.equal(plain.weights)
    for mine, theirs in zip(batches_of(composed, size), batches_of(plain, size), strict=True):
        assert sorted(mine.tolist()) == sorted(theirs.tolist())
        assert composed.weights[mine].diff().ge(0).all()


def test_the_weighted_loss_is_exact():
    """`update` returns the mean of weight times loss, but for where two weights meet."""
    train = made(400, batch_size=40)
    losses = torch.where(torch.arange(400) % 4 > 0, 0.1, 2.0)
    criterion = chunked(lambda outputs: outputs.mean(), chunks=20)
    wrong = 0
    for batch in DataLoader(train, batch_size=40):
        weights = train.weights[batch]
        exact = (losses[batch] * weights).mean()
        wrong += abs(float(train.update(criterion(losses[batch])) - exact)) > 1e-5
        # one slice of two samples at most
        bound = float(losses[batch].max() * weights.max()) / 40
        assert abs(float(losses[batch].mean() * weights.mean() - exact)) > bound
    assert wrong <= 7


def test_a_composed_epoch_resumes_exactly():
    def run(stop_after=None, state=None):
        train = BLS(InfoBatch(Numbers(200), 20, batch_size=20)).proxy()
        for batch in torch.arange(200).split(20):
            hand_over_first(train, batch)
        train.end_epoch()
        if state is not None:
            train.load_state_dict(state)
        served = []
        for step, batch in enumerate(DataLoader(train, batch_size=20)):
            served.append(batch.tolist())
            train.update((batch.float() % 7).mean())
            if step == stop_after:
                return served, train.state_dict()
        return served, train.scores

    def hand_over_first(train, batch):
        if batch[0] == 0:
            train.begin_epoch()
        set_current(train, batch.tolist(), (batch.float() % 7).mean())

    whole, scores = run()
    begun, state = run(stop_after=2)
    rest, resumed = run(state=state)
    assert begun + rest == whole
    assert resumed.equal(scores)


def test_messages():
    with pytest.raises(ValueError, match="batch_size must be at least 1, but 0 was given"):
        InfoBatch(Numbers(10), 5, batch_size=0)
    with pytest.raises(ValueError, match="batches cannot be composed: leave batch_size out"):
        InfoBatch(PrunedIterableDataset([(1, 2)], key=0), 5, batch_size=8)


@pytest.mark.parametrize(
    ("batch_size", "world_size"), [(10, 1), (32, 2), (64, 1), (16, 1), (None, 1)]
)
def test_a_loader_of_another_batch_size_is_refused(batch_size, world_size):
    train = InfoBatch(range(100), 5, batch_size=32)
    with pytest.raises(
        RuntimeError, match=r"composes batches of 32 .* the loader serves batches of"
    ):
        train.check_batch_size(batch_size, world_size)


def test_a_loader_of_the_same_batch_size_is_not():
    train = InfoBatch(range(100), 5, batch_size=32)
    train.check_batch_size(32)
    train.check_batch_size(8, 4)
    InfoBatch(range(100), 5).check_batch_size(7)  # composes nothing
    NoPrune(range(100), 5).check_batch_size(None)


def test_our_loader_asks_before_it_serves():
    train = BLS(InfoBatch(Numbers(40), 5, batch_size=32)).proxy()
    with pytest.raises(
        RuntimeError, match=r"composes batches of 32 .* the loader serves batches of"
    ):
        iter(DataLoader(train, batch_size=10))
    assert sum(len(batch) for batch in DataLoader(train, batch_size=32)) == 40
