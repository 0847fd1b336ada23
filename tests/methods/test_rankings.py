"""EpsilonGreedy, UCB and OrderDP by their descriptions, and what they have in common."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, train_epoch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaprune import UCB, DataLoader, EpsilonGreedy, OrderDP
from dynaprune.methods._ranking import highest, lowest, some_of
from dynaprune.methods.ucb import ucb1
from dynaprune.utils.rng import epoch_generator


def kept_of(train, scores, seed=0, **read):
    selection = train.select(scores, 1, epoch_generator(seed, 1), **read)
    assert selection.weights is None
    return set(selection.indices.tolist())


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.integers(0, 9), min_size=1, max_size=40), data=st.data())
def test_highest_and_lowest(values, data):
    count = data.draw(st.integers(0, len(values)))
    array = np.array(values, dtype=np.float32)
    generator = epoch_generator(0, 0)
    assert sorted(array[lowest(array, count, generator)]) == sorted(values)[:count]
    assert sorted(array[highest(array, count, generator)]) == sorted(values)[len(values) - count :]


def test_ties_and_parts_are_uniform():
    values = np.array([0, 1, 1, 1, 1, 2], dtype=np.float32)
    drawn = sum(lowest(values, 3, epoch_generator(seed, 0)).astype(int) for seed in range(2000))
    assert (drawn[0], drawn[5]) == (2000, 0)
    # two of four ties each time: a half of 2,000 each, with a deviation of 22
    assert abs(drawn[1:5] - 1000).max() < 5 * math.sqrt(2000 / 4)
    mask = np.array([True, False, True, True])
    drawn = sum(some_of(mask, 1, epoch_generator(seed, 1)).astype(int) for seed in range(1800))
    assert drawn[1] == 0
    assert drawn.sum() == 1800
    assert abs(drawn[mask] - 600).max() < 5 * math.sqrt(1800 * 2 / 9)


def test_epsilon_greedy_keeps_the_highest_and_explores_the_rest():
    scores = torch.randperm(1000, generator=torch.Generator().manual_seed(0)).float()
    order = scores.argsort(descending=True).tolist()
    train = EpsilonGreedy(Numbers(1000), 10, saving=0.6, epsilon=0.25)
    kept = [kept_of(train, scores, seed) for seed in range(300)]
    assert all(len(each) == 400 and each >= set(order[:300]) for each in kept)
    explored = np.bincount([i for each in kept for i in each], minlength=1000)[order[300:]]
    # 100 of 700 each time: binomial, with a deviation of 6 about 42.9
    expected, deviation = 300 / 7, math.sqrt(300 * 1 / 7 * 6 / 7)
    assert abs(explored - expected).max() < 5 * deviation


def test_epsilon_greedy_at_its_ends():
    scores = torch.arange(100.0)
    assert kept_of(EpsilonGreedy(Numbers(100), 9, saving=0.7, epsilon=0.0), scores) == set(
        range(70, 100)
    )
    train = EpsilonGreedy(Numbers(100), 9, saving=0.7, epsilon=1.0)
    assert set.union(*(kept_of(train, scores, seed) for seed in range(60))) == set(range(100))


def test_ucb_with_known_errors():
    """Score + c·error, by hand: 1, 2.4, 2, 0.5 for c = 2."""
    scores, errors = torch.tensor([1.0, 0.4, 1.8, 0.5]), torch.tensor([0.0, 1.0, 0.1, 0.0])
    visits = torch.ones(4, dtype=torch.int32)
    train = UCB(Numbers(4), 9, saving=0.75, c=2)
    assert kept_of(train, scores, errors=errors, visits=visits) == {1}
    train = UCB(Numbers(4), 9, saving=0.75, c=0)
    assert kept_of(train, scores, errors=errors, visits=visits) == {2}


def test_ucb1():
    values = np.array([1.0, 3.0, 2.0, 9.0], dtype=np.float32)
    visits = np.array([4, 1, 7, 0], dtype=np.int32)
    bounds = ucb1(values, visits, 0.5)
    deviation = math.sqrt(sum((v - 3.75) ** 2 for v in (1, 3, 2, 9)) / 4)
    for i in range(3):
        expected = values[i] + 0.5 * deviation * math.sqrt(math.log(12) / visits[i])
        assert bounds[i] == pytest.approx(expected, rel=1e-6)
    assert bounds[3] == math.inf
    assert not np.isnan(ucb1(values, np.zeros(4, dtype=np.int32), 0.0)).any()


def test_ucb_serves_first_what_was_never_measured():
    train = bls(UCB, 100, saving=0.5)
    loader = DataLoader(train, batch_size=10)
    first, second = (
        {i for batch in train_epoch(loader, lambda b: b.float().mean()) for i in batch}
        for _ in range(2)
    )
    assert len(first) == len(second) == 50
    assert first | second == set(range(100))


@pytest.mark.parametrize("pool", [0.5, 0.8, 1.0])
def test_order_dp_keeps_by_rank(pool):
    """A sample of rank k (0 the highest) is kept if it is in the pool and fewer than q of the
    higher ones are: a hypergeometric probability."""
    total, share, draws = 40, 0.3, 4000
    scores = torch.randperm(total, generator=torch.Generator().manual_seed(1)).float()
    order = scores.argsort(descending=True).tolist()
    train = OrderDP(Numbers(total), 10, saving=1 - share, pool=pool)
    served = np.zeros(total)
    for seed in range(draws):
        kept = kept_of(train, scores, seed)
        assert len(kept) == 12
        served[list(kept)] += 1
    size = round(pool * total)
    for rank, index in enumerate(order):
        fewer = sum(
            math.comb(rank, j) * math.comb(total - 1 - rank, size - 1 - j)
            for j in range(min(rank, 11, size - 1) + 1)
            if size - 1 - j <= total - 1 - rank
        )
        chance = size / total * fewer / math.comb(total - 1, size - 1)
        deviation = math.sqrt(chance * (1 - chance) / draws)
        assert abs(served[index] / draws - chance) <= 4.5 * deviation + 1e-9


def test_order_dp_pool_by_default():
    assert OrderDP(Numbers(10), 5, saving=0.4).pool == pytest.approx(0.8)
    assert OrderDP(Numbers(10), 5, saving=0.0).pool == 1.0
