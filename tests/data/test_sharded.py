"""A part of the samples for each rank: scored and selected there, in as many steps as elsewhere."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from helpers import Numbers, mean_loss
from ranks import Traffic, on_ranks
from torch import distributed

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, PruningSampler, SeTa, Sharded


@pytest.mark.parametrize(("length", "ranks"), [(1, 1), (10, 4), (61, 3), (64, 8), (5, 8)])
def test_parts_hold_every_sample_and_are_equally_long(length, ranks):
    parts = [Sharded(Numbers(length), rank=rank, world_size=ranks) for rank in range(ranks)]
    held = Counter(int(part[i]) for part in parts for i in range(len(part)))
    assert set(held) == set(range(length))
    assert {len(part) for part in parts} == {-(-length // ranks)}
    assert sum(held.values()) - length < ranks
    for part in parts:
        assert [int(part[i]) for i in range(len(part))] == [
            part.index_of(i) for i in range(len(part))
        ]
        assert [int(each) for each in part.__getitems__([0])] == [part.index_of(0)]


@pytest.mark.parametrize("ranks", [2, 8, 13, 89])
def test_a_part_of_an_ordered_dataset_is_like_the_whole(ranks):
    """Of samples in the order of their class, and of such whose class repeats every `ranks`."""
    length = 10_007
    for rank in (0, ranks - 1):
        part = Sharded(range(length), rank=rank, world_size=ranks)
        indices = [part.index_of(i) for i in range(len(part))]
        ordered = Counter(index * 4 // length for index in indices)
        assert all(abs(ordered[c] / len(part) - 1 / 4) < 0.03 for c in range(4))
        periodic = Counter(index % ranks for index in indices)
        assert max(periodic.values()) < len(part) / 4 if ranks > 8 else len(periodic) == ranks


def train_on_rank(rank, method, stop_after=None, states=None, drop_last=False):
    train = BLS(method(Sharded(Numbers(61)), 8, delta=1.0)).proxy()
    if states is not None:
        train.load_state_dict(states[rank])
    loader = DataLoader(train, batch_size=4, sampler=PruningSampler(train, drop_last=drop_last))
    traffic, served, lengths = Traffic(), [], []
    for epoch in range(train.epoch, 6):
        length, batches = len(loader), 0
        lengths.append(length)
        for batch in loader:
            train.update(mean_loss(batch))
            distributed.barrier()  # a step that all ranks make, or none
            batches += 1
            served.append((epoch, batch.tolist()))
            if len(served) == stop_after:
                return served, train.state_dict()
        assert batches == length
    return served, train.scores, train.summary(), traffic.sent, lengths


@pytest.mark.parametrize(
    ("world_size", "method", "drop_last"),
    [(2, InfoBatch, False), pytest.param(3, SeTa, True, marks=pytest.mark.long)],
)
def test_ranks_make_equally_many_steps_and_tell_each_other_nothing_else(
    world_size, method, drop_last
):
    ranks = on_ranks(world_size, train_on_rank, method, None, None, drop_last)
    assert len({len(served) for served, *_ in ranks}) == 1
    lengths = [
        [sum(len(batch) for number, batch in served if number == epoch) for epoch in range(6)]
        for served, *_ in ranks
    ]
    assert all(one == other for one, other in itertools.pairwise(lengths))
    parts = [Sharded(Numbers(61), rank=r, world_size=world_size) for r in range(world_size)]
    for rank, (served, scores, summary, sent, _) in enumerate(ranks):
        own = {parts[rank].index_of(i) for i in range(len(parts[rank]))}
        assert {sample for _, batch in served for sample in batch} <= own
        assert summary.visits_avoided > 0
        assert sent[0] == 8 * 7  # facts, at the first update
        assert sent[1:] == [8] * 6  # the length of each epoch
        reference, first = {}, None
        for number in range(6):  # step by step; what is repeated in an epoch is scored once
            seen = set()
            for epoch, batch in served:
                if epoch != number:
                    continue
                loss = float(mean_loss(torch.tensor(batch)))
                first = loss if first is None else first
                for sample in set(batch) - seen:
                    reference[sample] = 0.7 * reference.get(sample, first) + 0.3 * loss
                seen |= set(batch)
        expected = [reference.get(parts[rank].index_of(i), first) for i in range(len(scores))]
        torch.testing.assert_close(scores, torch.tensor(expected))


@pytest.mark.parametrize(
    "steps", [14, *(pytest.param(steps, marks=pytest.mark.long) for steps in (3, 16))]
)
def test_stopped_and_resumed(steps):
    whole = on_ranks(2, train_on_rank, InfoBatch)
    stopped = on_ranks(2, train_on_rank, InfoBatch, steps)
    states = [state for _, state in stopped]
    resumed = on_ranks(2, train_on_rank, InfoBatch, None, states)
    for one, two, three in zip(stopped, resumed, whole, strict=True):
        assert one[0] + two[0] == three[0]
        assert two[1].equal(three[1])
        assert two[4] == resumed[0][4]
    other = BLS(InfoBatch(Sharded(Numbers(61), rank=1, world_size=2), 8, delta=1.0)).proxy()
    with pytest.raises(RuntimeError, match="its rank is 0, but here it is 1"):
        other.load_state_dict(states[0])


def by_length_on_rank(rank):
    """A loop that counts batches, as frameworks do, and says itself when an epoch is over."""
    train = BLS(InfoBatch(Sharded(Numbers(61)), 8, delta=1.0)).proxy()
    loader = DataLoader(train, batch_size=2)
    lengths = []
    for _ in range(5):
        lengths.append(len(loader))
        for batch in itertools.islice(iter(loader), lengths[-1]):
            train.update(mean_loss(batch))
        train.end_epoch()
    return lengths


def test_ranks_agree_on_lengths_that_nobody_runs_to_the_end_of():
    one, other = on_ranks(2, by_length_on_rank)
    assert one == other
    assert min(one) < max(one)


def test_one_process_may_hold_any_part():
    part = Sharded(Numbers(20), rank=1, world_size=2)
    train = BLS(NoPrune(part, 3)).proxy()
    served = [i for batch in DataLoader(train, batch_size=3) for i in batch.tolist()]
    assert sorted(served) == sorted(part.index_of(i) for i in range(10))
    assert len(train) == 10


def misused(rank, how):
    part = Sharded(Numbers(20), rank=rank, world_size=3) if how == "parts" else Sharded(Numbers(20))
    if how == "index":
        assert part.rank == rank
        part.index_of(10)
    train = BLS(InfoBatch(part, 3)).proxy()
    sampler = PruningSampler(train, world_size=2, rank=rank) if how == "sampler" else train.sampler
    next(iter(DataLoader(train, batch_size=2, sampler=sampler)))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("parts", "divided into 3 parts, one for each rank, but 2 ranks train"),
        pytest.param("sampler", "the sampler divides it again", marks=pytest.mark.long),
        pytest.param("index", "from 0 to 9, but 10 was given", marks=pytest.mark.long),
    ],
)
def test_misuse(how, message):
    with pytest.raises(RuntimeError, match=message):
        on_ranks(2, misused, how)


def test_bad_arguments():
    with pytest.raises(RuntimeError, match="call init_process_group"):
        Sharded(Numbers(5))
    with pytest.raises(ValueError, match="give rank and world_size, or neither"):
        Sharded(Numbers(5), rank=1)
    with pytest.raises(ValueError, match="rank must be below world_size=2, but 2 was given"):
        Sharded(Numbers(5), rank=2, world_size=2)
    with pytest.raises(TypeError, match="dataset must be map-style"):
        Sharded(iter([1]), rank=0, world_size=1)


def left_early(rank):
    """The ranks prune unequally, and have not come together before the second epoch begins."""
    train = BLS(InfoBatch(Sharded(Numbers(48)), 10, prune_ratio=0.5, delta=1.0)).proxy()
    batches = []
    for epoch in range(4):
        for number, batch in enumerate(DataLoader(train, batch_size=4)):
            train.update((batch.long() * 7 % 11 + 1).float().mean())
            if epoch == 0 and number == 2:
                break
        batches.append(number + 1)
    return batches


def test_an_epoch_after_one_that_was_left_is_as_long_on_all_ranks():
    one, other = on_ranks(2, left_early)
    assert one[0] == other[0] == 3
    assert one == other
