"""RePB by its description."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import Numbers

from dynaprune import DataLoader, RePB, SampleLoss
from dynaprune.methods.repb import means_of_windows
from dynaprune.utils.rng import epoch_generator


def int32(values):
    return torch.tensor(values, dtype=torch.int32)


def test_scores_are_compared_within_their_window():
    """Two windows of two steps, with means 5.5 and 2; and one of what was never measured."""
    scores = np.array([5, 6, 1, 3, 2, 9, 9], dtype=np.float32)
    steps = np.array([6, 7, 8, 8, 9, -1, -1], dtype=np.int32)
    below = scores < means_of_windows(scores, steps, 2)
    assert below.tolist() == [True, False, True, False, False, False, False]
    # in one window of all steps the mean is 3.4
    below = scores < means_of_windows(scores, steps, 100)
    assert below.tolist() == [False, False, True, True, True, False, False]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 2.3025851, 1e-8])
def test_equal_scores_are_never_below_their_mean(value):
    scores = np.full(1_000_003, value, dtype=np.float32)
    means = means_of_windows(scores, np.arange(scores.size, dtype=np.int32), 333_335)
    assert not (scores < means).any()


def test_a_share_of_the_candidates_is_skipped_anew():
    scores = torch.arange(100.0)
    train = RePB(Numbers(100), 10, prune_ratio=0.4)
    read = {"visits": int32([3] * 100), "last_steps": int32([50] * 100)}
    skipped = []
    for seed in range(40):
        selection = train.select(scores, 3, epoch_generator(seed, 3), **read)
        skipped.append(set(range(100)) - set(selection.indices.tolist()))
    assert all(len(each) == 20 and max(each) < 50 for each in skipped)
    assert set.union(*skipped) == set(range(50))


def test_saving_skips_candidates_or_the_next_above_their_mean():
    """Five of ten are candidates; to skip three, twice as many are looked at."""
    scores = torch.arange(10.0)
    train = RePB(Numbers(10), 10, saving=0.3)
    read = {"visits": int32([3] * 10), "last_steps": int32([50] * 10)}
    skipped = []
    for seed in range(60):
        selection = train.select(scores, 3, epoch_generator(seed, 3), **read)
        skipped.append(set(range(10)) - set(selection.indices.tolist()))
    assert all(len(each) == 3 for each in skipped)
    assert set.union(*skipped) == set(range(6))


def test_weights():
    """(e + 1)/(v + 1), at most max_weight, times what makes them sum to N."""
    visits = [9, 4, 1, 0, 9]
    train = RePB(Numbers(5), 20, max_weight=4.0)
    selection = train.select(
        torch.ones(5), 9, epoch_generator(0, 9), visits=int32(visits), last_steps=int32([0] * 5)
    )
    plain = [1.0, 2.0, 4.0, 4.0, 1.0]
    expected = [5 / 12 * weight for weight in plain]
    assert selection.indices.tolist() == list(range(5))
    assert selection.weights.tolist() == pytest.approx(expected, rel=1e-6)


def test_weights_are_one_while_all_was_served():
    train = RePB(Numbers(10), 20)
    selection = train.select(
        torch.ones(10), 6, epoch_generator(0, 6), visits=int32([6] * 10), last_steps=int32([5] * 10)
    )
    assert selection.weights is None


def test_every_sample_counts_alike_over_a_run():
    """Σ of a sample's weights over E epochs is near E, whether it is often skipped or never."""
    length, epochs = 100, 300
    train = SampleLoss(RePB(Numbers(length), epochs, prune_ratio=0.7, window=100)).proxy()
    loader = DataLoader(train, batch_size=10)
    total, visits = np.zeros(length), np.zeros(length)
    for _ in range(epochs):
        weights = train.weights.numpy()
        for batch in loader:
            total[batch.numpy()] += weights[batch.numpy()]
            visits[batch.numpy()] += 1
            train.update(1 + batch.float())
    easy, hard = slice(0, 40), slice(80, 100)
    assert (visits[hard] == epochs).all()
    assert visits[easy].mean() < 0.7 * epochs
    assert total.sum() == pytest.approx(length * epochs, rel=1e-5)
    assert total[easy].mean() == pytest.approx(total[hard].mean(), rel=0.05)
