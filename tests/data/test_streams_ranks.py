"""Streams on several ranks."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers import mean_loss
from ranks import Traffic, on_ranks
from streams import Split, Stored, bls_stream, stream_of
from torch import distributed

from dynaprune import BLS, DataLoader, InfoBatch, PrunedDataset, SeTa
from dynaprune.losses.measurements import Measurements

LENGTH = 61


def train_on_rank(rank, method, workers, stop_after=None, state=None, batch_size=4):
    """Train five epochs; return what was served, the scores, the state, and collectives."""
    train: PrunedDataset = bls_stream(method, LENGTH)
    if state is not None:
        train.load_state_dict(state)
    loader = DataLoader(train, batch_size=batch_size, num_workers=workers)
    traffic, served = Traffic(), []
    for epoch in range(train.epoch, 5):
        for batch in loader:
            train.update(mean_loss(batch))
            served.append((epoch, batch.tolist()))
            if len(served) == stop_after:
                return served, loader.state_dict()
    return served, train.scores, train.state_dict(), traffic.sent


def visits(ranks, epoch):
    return [
        sample
        for served, *_ in ranks
        for number, batch in served
        for sample in batch
        if number == epoch
    ]


@pytest.mark.parametrize(
    ("world_size", "method", "workers"),
    [
        (2, InfoBatch, 0),
        pytest.param(3, SeTa, 0, marks=pytest.mark.long),
        pytest.param(2, InfoBatch, 2, marks=pytest.mark.long),
        pytest.param(3, InfoBatch, 1, marks=pytest.mark.long),
    ],
)
def test_ranks_share_a_stream_as_they_share_what_has_indices(world_size, method, workers):
    ranks = on_ranks(world_size, train_on_rank, method, workers)
    for one, other in itertools.pairwise(ranks):
        assert one[1].equal(other[1])  # the scores
    for epoch in range(5):
        samples = visits(ranks, epoch)
        repeated = len(samples) - len(set(samples))
        assert repeated < world_size
        assert len(samples) % world_size == 0
    assert sorted(set(visits(ranks, 0))) == list(range(LENGTH))
    # one collective an epoch, one more at the first update, and one where messages got longer
    assert len(ranks[0][3]) <= 5 + 1 + 2
    # keys of 8 bytes, and 8 bytes a batch: no message is longer than the longest epoch needs
    samples = -(-LENGTH // world_size)
    assert max(ranks[0][3]) <= 8 * 11 + 32 + 8 * samples + 8 * -(-samples // 4)


def test_the_scores_of_ranks_are_those_of_one_process():
    """A replay of the same batches, in the order step, rank, by one process."""
    ranks = on_ranks(2, train_on_rank, InfoBatch, 0)
    replayed = BLS(InfoBatch(range(LENGTH), 10)).proxy().epochs.score
    for epoch in range(5):
        each = [[batch for number, batch in served if number == epoch] for served, *_ in ranks]
        batches = [batch for step in zip(*each, strict=True) for batch in step]
        losses = torch.stack([mean_loss(torch.tensor(batch)) for batch in batches])
        measured = Measurements(
            torch.tensor([sample for batch in batches for sample in batch]),
            torch.tensor([len(batch) for batch in batches]),
            losses,
            torch.arange(len(batches)),
        )
        for part in measured.first_visits().disjoint():
            replayed.observe(part)
    train = bls_stream(InfoBatch, LENGTH)
    train.load_state_dict(ranks[0][2])
    numbers = train.numbers_of(f"sample {i}" for i in range(LENGTH))
    assert replayed.values().equal(train.scores[numbers])


@pytest.mark.long
@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (2, 3)])
def test_stopped_and_resumed(before, after):
    """In the first epoch, in which no key is known, and in the second."""
    whole = on_ranks(before, train_on_rank, InfoBatch, 0)
    for steps in (3, 11):
        stopped = on_ranks(before, train_on_rank, InfoBatch, 0, steps)
        state = stopped[0][1]
        epoch = state["epoch"]
        resumed = on_ranks(after, train_on_rank, InfoBatch, 0, None, state)
        if before == after:
            for one, two, three in zip(stopped, resumed, whole, strict=True):
                assert one[0] + two[0] == three[0]
            assert resumed[0][1].equal(whole[0][1])
        done, due = visits(stopped, epoch), visits(resumed, epoch)
        assert set(done) | set(due) == set(visits(whole, epoch))
        assert len(due) - len(set(due) - set(done)) < after


def split_on_rank(rank, world_size, workers):
    """Ranks whose parts are of different length stop together."""
    source = Split(LENGTH, rank, world_size)
    train = BLS(InfoBatch(stream_of(source, splits_itself=True, shuffle=10), 10)).proxy()
    loader = DataLoader(train, batch_size=3, num_workers=workers[rank])
    served = []
    for epoch in range(5):
        for batch in loader:
            train.update(mean_loss(batch))
            distributed.barrier()  # a step that all ranks make, or none
            served.append((epoch, batch.tolist()))
    return served, train.scores


@pytest.mark.parametrize(
    "workers", [[0, 0], *(pytest.param(each, marks=pytest.mark.long) for each in ([2, 2], [0, 2]))]
)
def test_ranks_stop_together_where_a_stream_splits_itself(workers):
    ranks = on_ranks(2, split_on_rank, 2, workers)
    assert len(ranks[0][0]) == len(ranks[1][0])
    assert ranks[0][1].equal(ranks[1][1])
    for epoch in range(5):
        samples = visits(ranks, epoch)
        assert len(set(samples)) == len(samples)
    assert len(visits(ranks, 0)) >= LENGTH - 3 * max(1, *workers) * 2


def differ_on_rank(rank):
    source = Stored(20)
    source.numbers = source.numbers[rank:]
    train = BLS(InfoBatch(stream_of(source), 10)).proxy()
    for batch in DataLoader(train, batch_size=3):
        train.update(mean_loss(batch))


def test_ranks_that_do_not_read_the_same_are_told():
    with pytest.raises(RuntimeError, match="they differ in the stream's first key"):
        on_ranks(2, differ_on_rank)
