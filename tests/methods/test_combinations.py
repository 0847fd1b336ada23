"""Every method with every score: exact resumption in mid-epoch, and several ranks."""

from __future__ import annotations

import itertools

import pytest
from helpers import Numbers, sample_losses
from ranks import on_ranks
from test_methods import METHODS

from dynaprune import BLS, DataLoader, KalmanBLS, PrunedIterableDataset, SampleLoss, chunked

BATCH = 6
SCORES = {
    "BLS": (BLS, 1),
    "BLS, slices": (BLS, 3),
    "BLS, vectors": (BLS, BATCH),
    "KalmanBLS": (KalmanBLS, 1),
    "KalmanBLS, slices": (KalmanBLS, 4),
    "KalmanBLS, vectors": (KalmanBLS, BATCH),
    "SampleLoss": (SampleLoss, BATCH),
    "SampleLoss, slices": (SampleLoss, 2),
}
"""Each with the number of losses that a batch reports."""

EVERY = list(itertools.product(METHODS, SCORES))


def make(method, score, length=61):
    score_class, chunks = SCORES[score]
    train = score_class(METHODS[method](Numbers(length), 12)).proxy()
    return train, chunked(lambda losses: losses.mean(), chunks=chunks)


def train_epoch(train, criterion, loader, stop_after=None):
    served = []
    for batch in loader:
        train.update(criterion(sample_losses(batch)))
        served.append(batch.tolist())
        if len(served) == stop_after:
            break
    return served


@pytest.mark.parametrize(("method", "score"), EVERY)
def test_resumes_exactly_in_mid_epoch(method, score):
    train, criterion = make(method, score)
    loader = DataLoader(train, batch_size=BATCH)
    for _ in range(4):
        train_epoch(train, criterion, loader)
    begun = iter(loader)
    served, some = [], min(2, len(loader) - 1)
    for _ in range(some):
        batch = next(begun)
        train.update(criterion(sample_losses(batch)))
        served.append(batch.tolist())
    state = train.state_dict()
    for batch in begun:
        train.update(criterion(sample_losses(batch)))
        served.append(batch.tolist())
    resumed, _ = make(method, score)
    resumed.load_state_dict(state)
    again = DataLoader(resumed, batch_size=BATCH)
    assert served[:some] + train_epoch(resumed, criterion, again) == served
    for _ in range(3):
        assert train_epoch(resumed, criterion, again) == train_epoch(train, criterion, loader)
    assert resumed.scores.equal(train.scores)
    assert resumed.weights.equal(train.weights)
    assert resumed.reliability == pytest.approx(train.reliability, nan_ok=True)


def on_rank(rank):
    """Train every combination for some epochs; return what each rank has served and knows."""
    found = {}
    for method, score in EVERY:
        train, criterion = make(method, score)
        loader = DataLoader(train, batch_size=BATCH)
        served = [train_epoch(train, criterion, loader) for _ in range(5)]
        found[method, score] = served, train.scores, train.reliability, len(train.sampler)
    return found


@pytest.mark.long
def test_two_ranks_know_the_same():
    first, second = on_ranks(2, on_rank)
    for each in EVERY:
        served, scores, reliability, length = first[each]
        others, scores_there, reliability_there, length_there = second[each]
        assert scores.equal(scores_there), each
        assert length == length_there
        assert reliability == pytest.approx(reliability_there, nan_ok=True)
        for mine, theirs in zip(served, others, strict=True):
            mine, theirs = list(itertools.chain(*mine)), list(itertools.chain(*theirs))
            assert len(mine) == len(theirs)
            assert len(mine + theirs) - len({*mine, *theirs}) <= 1  # an odd number repeats one


@pytest.mark.parametrize("score", [name for name in SCORES if "SampleLoss" not in name])
def test_streams(score):
    """Samples that come later have scores from then on, and those that there were keep theirs."""
    score_class, chunks = SCORES[score]
    stored = [{"key": f"{i}", "value": float(i)} for i in range(40)]
    stream = PrunedIterableDataset(stored, key="key", decode=lambda each: each["value"])
    train = score_class(METHODS["InfoBatch"](stream, 12)).proxy()
    criterion = chunked(lambda losses: losses.mean(), chunks=chunks)
    loader = DataLoader(train, batch_size=BATCH)
    for _ in range(3):
        train_epoch(train, criterion, loader)
    before = train.scores
    places = train.numbers_of([f"{i}" for i in range(40)])
    assert places.sort().values.tolist() == list(range(40))
    stored += [{"key": f"{i}", "value": float(i)} for i in range(40, 60)]
    state = train.state_dict()
    train_epoch(train, criterion, loader)
    assert len(train) == 60
    resumed = score_class(METHODS["InfoBatch"](stream, 12)).proxy()
    resumed.load_state_dict(state)
    assert resumed.scores.equal(before)
    train_epoch(resumed, criterion, DataLoader(resumed, batch_size=BATCH))
    assert resumed.scores.equal(train.scores)
