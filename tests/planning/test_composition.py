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


@settings(max_examples=25, deadline=None)
@given(length=st.integers(8, 200), size=st.integers(1, 40), seed=st.integers(0, 50))
def test_pure_batches_are_of_one_weight(length, size, seed):
    plain, composed = made(length, seed=seed), made(length, seed=seed, batch_size=size, pure=True)
    batches = batches_of(composed, size)
    assert sorted(torch.cat(batches).tolist()) == sorted(
        torch.cat(batches_of(plain, size)).tolist()
    )
    full = [batch for batch in batches if len(batch) == size]
    mixed = sum(composed.weights[batch].unique().numel() > 1 for batch in full)
    assert mixed <= 1  # where the one weight ends and the other begins


def test_pure_batches_are_shuffled():
    first_weights = set()
    for seed in range(20):
        train = made(seed=seed, batch_size=10, pure=True)
        first_weights.add(float(train.weights[batches_of(train, 10)[0]].mean()) > 1)
    assert first_weights == {True, False}


@pytest.mark.parametrize("pure", [False, True])
def test_the_weighted_loss_is_exact(pure):
    """`update` returns the mean of weight times loss, but for where two weights meet."""
    train = made(400, batch_size=40, pure=pure)
    losses = torch.where(torch.arange(400) % 4 > 0, 0.1, 2.0)
    criterion = chunked(lambda outputs: outputs.mean(), chunks=2 if pure else 20)
    wrong = 0
    for batch in DataLoader(train, batch_size=40):
        weights = train.weights[batch]
        exact = (losses[batch] * weights).mean()
        wrong += abs(float(train.update(criterion(losses[batch])) - exact)) > 1e-5
        if not pure:  # one slice of two samples at most
            bound = float(losses[batch].max() * weights.max()) / 40
            assert abs(float(losses[batch].mean() * weights.mean() - exact)) > bound
    assert wrong <= (2 if pure else 7)


def test_a_pure_epoch_may_lack_its_last_batch():
    """What `drop_last` drops is of both weights, in proportion."""
    dropped = torch.cat([
        train.weights[batches_of(train, 64)[-1]]
        for train in (made(300, batch_size=64, pure=True, seed=seed) for seed in range(30))
    ])  # fmt: skip
    train = made(300)
    share = float((train.weights[list(train.sampler)] > 1).float().mean())
    assert float((dropped > 1).float().mean()) == pytest.approx(share, abs=0.1)


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
    with pytest.raises(ValueError, match="pure=True needs batch_size"):
        InfoBatch(Numbers(10), 5, pure=True)
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
    for pure in (False, True):
        train = InfoBatch(range(100), 5, batch_size=32, pure=pure)
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
