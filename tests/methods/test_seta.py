"""SeTa by its description."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from helpers import Numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from dynaprune import SeTa
from dynaprune.methods._kmeans import kmeans_cuts
from dynaprune.methods.seta import window
from dynaprune.utils.rng import epoch_generator


def group_by_score(scores, num_groups):
    """Each score's group, the lowest first, and the number of groups."""
    cuts = kmeans_cuts(scores, num_groups)
    return np.searchsorted(cuts, scores, side="right"), cuts.size + 1


def inertia(scores, labels):
    scores = scores.astype(np.float64)
    return sum(
        np.square(scores[labels == label] - scores[labels == label].mean()).sum()
        for label in np.unique(labels)
    )


def distributions(random, size):
    normal = random.normal(size=size)
    return {
        "normal": normal,
        "uniform": random.uniform(size=size),
        "exponential": random.exponential(size=size),
        "lognormal": np.exp(normal),
        "heavy tail": np.exp(3 * normal),
        "bimodal": np.where(random.uniform(size=size) < 0.9, 0.01 * normal, 5 + normal),
        "mostly learned": np.where(
            random.uniform(size=size) < 0.995, np.exp(normal - 9), 5 + normal
        ),
        "far from zero": 1000 + 0.1 * normal,
        "few values": random.integers(0, 9, size=size).astype(float),
        "with an outlier": np.concatenate([normal[1:], [1e4]]),
    }


@pytest.mark.parametrize("num_groups", [2, 3, 5, 10, 20])
@pytest.mark.parametrize("name", distributions(np.random.default_rng(0), 10))
def test_groups_against_scikit_learn(name, num_groups):
    for seed in range(3):
        scores = distributions(np.random.default_rng(seed), 5000)[name].astype(np.float32)
        groups, found = group_by_score(scores, num_groups)
        centred = scores.astype(np.float64)[:, None] - scores.mean(dtype=np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fewer distinct points than clusters
            theirs = KMeans(num_groups, n_init=10, random_state=seed).fit(centred)
        assert found == len(np.unique(groups)) == min(num_groups, np.unique(scores).size)
        assert inertia(scores, groups) <= 1.01 * inertia(scores, theirs.labels_) + 1e-9


@pytest.mark.parametrize("num_groups", [5, 10, 20])
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_groups_of_batch_loss_scores(num_groups, epochs):
    """Early in a run a batch's samples share their score, and a few batches spike."""
    for seed in range(3):
        random = np.random.default_rng(seed)
        scores = np.full(12_800, 2.0, dtype=np.float32)
        for _ in range(epochs):
            losses = 2 + 0.1 * random.normal(size=200)
            losses[random.uniform(size=200) < 0.02] *= random.lognormal(1, 1)
            scores = 0.7 * scores + 0.3 * random.permutation(losses.repeat(64))
        scores = scores.astype(np.float32)
        groups, found = group_by_score(scores, num_groups)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            centred = scores.astype(np.float64)[:, None] - 2
            theirs = KMeans(num_groups, n_init=3, random_state=seed).fit(centred)
        assert found == num_groups
        assert inertia(scores, groups) <= 1.01 * inertia(scores, theirs.labels_) + 1e-9


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=80),
    num_groups=st.integers(1, 8),
)
def test_groups_are_ordered_and_none_is_empty(scores, num_groups):
    scores = np.array(scores, dtype=np.float32)
    groups, found = group_by_score(scores, num_groups)
    assert sorted(set(groups.tolist())) == list(range(found))
    assert found == min(num_groups, np.unique(scores).size)
    for group in range(found - 1):
        assert scores[groups == group].max() < scores[groups == group + 1].min()


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(0, 30), min_size=2, max_size=9), num_groups=st.integers(2, 4))
def test_groups_of_few_numbers_are_the_best_of_all(values, num_groups):
    """Every way to cut a handful of sorted numbers, tried."""
    from itertools import combinations

    scores = np.sort(np.array(values, dtype=np.float32))
    cuts = kmeans_cuts(scores, num_groups)
    groups = np.searchsorted(cuts, scores, side="right")
    best = min(
        sum(
            np.square(part - part.mean()).sum()
            for part in np.split(scores.astype(np.float64), positions)
        )
        for count in range(min(num_groups, scores.size))
        for positions in combinations(range(1, scores.size), count)
    )
    assert inertia(scores, groups) == pytest.approx(best, abs=1e-6)


def test_equal_scores_fall_into_equal_chunks():
    """Five chunks of twenty, a window of two: four positions, each of forty samples."""
    train = SeTa(Numbers(100), 20, prune_ratio=0.0, num_groups=5, window_scale=0.4, delta=1.0)
    for epoch in range(1, 9):
        selection = train.select(torch.full((100,), 0.3), epoch, epoch_generator(0, epoch))
        assert selection.indices.numel() == 40
    few = SeTa(Numbers(3), 20, prune_ratio=0.0, num_groups=5, window_scale=0.4, delta=1.0)
    for epoch in range(1, 9):  # three chunks of one
        selection = few.select(torch.full((3,), 0.3), epoch, epoch_generator(0, epoch))
        assert selection.indices.numel() == 1


def test_fewer_values_than_groups_give_fewer_groups():
    scores = np.array([1, 1, 1, 2, 2, 7], dtype=np.float32)
    groups, found = group_by_score(scores, 5)
    assert (found, groups.tolist()) == (3, [0, 0, 0, 1, 1, 2])


def test_window_positions_over_epochs():
    """Five groups, a window of three: it starts at e mod 3."""
    assert [window(epoch, 5, 0.6) for epoch in range(7)] == [
        (0, 3), (1, 4), (2, 5), (0, 3), (1, 4), (2, 5), (0, 3),
    ]  # fmt: skip
    assert [window(epoch, 5, 1.0) for epoch in range(3)] == [(0, 5)] * 3
    assert [window(epoch, 5, 0.01) for epoch in range(6)] == [
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 1),
    ]  # fmt: skip
    assert window(3, 1, 0.5) == (0, 1)


def test_epochs_of_a_run():
    """Ten well-separated scores of ten samples each: which of them each epoch serves."""
    scores = torch.arange(10).repeat_interleave(10).float() * 10
    train = SeTa(Numbers(100), 10, prune_ratio=0.0, num_groups=5, window_scale=0.4, delta=0.8)
    served = []
    for epoch in range(10):
        selection = train.select(scores, epoch, epoch_generator(0, epoch))
        assert selection.weights is None
        served.append(sorted({i // 10 for i in selection.indices.tolist()}))
    everything = list(range(10))
    # pairs of neighbouring values make the five groups; a window of two starts at e mod 4
    assert served[0] == everything
    for epoch in range(1, 8):
        first = 2 * (epoch % 4)
        assert served[epoch] == [first, first + 1, first + 2, first + 3]
    assert served[8] == served[9] == everything


def test_a_share_is_pruned_at_random_in_every_epoch():
    train = SeTa(Numbers(1000), 10, prune_ratio=0.2, window_scale=1.0)
    scores = torch.rand(1000)
    kept = [
        set(train.select(scores, epoch, epoch_generator(0, epoch)).indices.tolist())
        for epoch in range(10)
    ]
    assert all(len(indices) == 800 for indices in kept)
    assert len({frozenset(indices) for indices in kept}) == 10


def test_one_sample():
    train = SeTa(Numbers(1), 10, prune_ratio=0.9)
    for epoch in range(10):
        selection = train.select(torch.zeros(1), epoch, epoch_generator(0, epoch))
        assert selection.indices.tolist() == [0]


@settings(max_examples=50, deadline=None)
@given(
    total=st.integers(10, 300),
    epochs=st.integers(1, 12),
    saving=st.floats(0, 0.9),
    distribution=st.sampled_from(sorted(distributions(np.random.default_rng(0), 10))),
)
def test_saving_is_met_exactly(total, epochs, saving, distribution):
    train = SeTa(Numbers(total), epochs, saving=saving)
    scores = distributions(np.random.default_rng(1), total)[distribution].astype(np.float32)
    served = 0
    for epoch in range(epochs):
        kept = train.select(torch.from_numpy(scores), epoch, epoch_generator(0, epoch)).indices
        assert len(set(kept.tolist())) == len(kept)
        served += len(kept)
    assert served == total * epochs - round(saving * total * epochs)


def test_saving_serves_the_window():
    scores = torch.arange(100.0)
    train = SeTa(Numbers(100), 10, saving=0.3, window_scale=0.8)
    for epoch, (low, high) in {1: (20, 100), 2: (0, 80)}.items():
        kept = train.select(scores, epoch, epoch_generator(0, epoch)).indices
        assert len(kept) == 70
        assert low <= int(kept.min())
        assert int(kept.max()) < high


def test_a_window_that_holds_too_few_is_widened():
    scores = torch.cat([torch.zeros(90), torch.linspace(5, 6, 10)])
    train = SeTa(Numbers(100), 10, saving=0.3, num_groups=2, window_scale=0.5)
    kept = train.select(scores, 1, epoch_generator(0, 1)).indices
    assert len(kept) == 70  # the hard group holds ten
    with pytest.raises(ValueError, match="prune_ratio or saving, not both"):
        SeTa(Numbers(100), 10, prune_ratio=0.1, saving=0.3)
