"""SkipConverged by its description."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import Numbers, with_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaprune import BLS, DataLoader, KalmanBLS, SkipConverged
from dynaprune.utils.rng import epoch_generator


def skipped_of(train, scores, epoch=1, seed=0):
    selection = train.select(scores, epoch, epoch_generator(seed, epoch))
    assert selection.weights is None
    return set(range(scores.numel())) - set(selection.indices.tolist())


@settings(max_examples=100, deadline=None)
@given(
    losses=st.lists(st.floats(-2, 100, width=32), min_size=2, max_size=60),
    loss_share=st.floats(0, 0.99),
    floor=st.sampled_from([-1.0, 0.0, 0.5]),
)
def test_as_many_are_skipped_as_hold_the_share(losses, loss_share, floor):
    scores = torch.tensor(losses)
    train = SkipConverged(Numbers(len(losses)), 10, loss_share=loss_share, refresh=0.0, floor=floor)
    skipped = skipped_of(train, scores)
    if min(losses) == max(losses):
        assert skipped == set()
        return
    lacking = sum(max(np.float32(floor) - np.float32(loss), 0.0) for loss in losses)
    excess = [max(np.float32(loss) - np.float32(floor), 0.0) for loss in losses]
    allowed = loss_share * sum(map(float, excess))
    if lacking > allowed:  # such a floor cannot be right
        assert skipped == set()
        return
    held = sum(float(excess[i]) for i in skipped)
    assert held <= allowed * (1 + 1e-9)
    left = [i for i in range(len(losses)) if i not in skipped]
    if allowed == sum(map(float, excess)):  # all are learned: one is kept, any of them
        assert len(left) == 1
        return
    assert max((losses[i] for i in skipped), default=-np.inf) <= min(losses[i] for i in left)
    if len(left) > 1:  # one more would hold too much
        assert held + min(float(excess[i]) for i in left) > allowed * (1 - 1e-9)


def test_nothing_is_skipped_while_all_scores_are_equal():
    for value in (0.0, 2.3, -1.0):
        assert skipped_of(SkipConverged(Numbers(100), 10), torch.full((100,), value)) == set()


def test_few_while_all_are_learned_many_once_most_are():
    train = SkipConverged(Numbers(1000), 10, loss_share=0.05, refresh=0.0)
    early = 2.3 + 0.01 * torch.rand(1000)
    assert len(skipped_of(train, early)) == pytest.approx(50, abs=1)  # a share ε of equal losses
    late = torch.where(torch.arange(1000) < 100, 1.0, 0.001)
    skipped = skipped_of(train, late)
    assert skipped >= set(range(100, 1000))  # these hold 0.9 of 100.9
    assert len(skipped) == 904  # and four more 4.9, of the 5.045 that are allowed


def test_some_of_the_learned_are_looked_at_again():
    scores = torch.cat([torch.full((800,), 1e-6), torch.linspace(1, 2, 200)])
    train = SkipConverged(Numbers(1000), 10, loss_share=1e-3, refresh=0.15)
    skipped = [skipped_of(train, scores, seed=seed) for seed in range(100)]
    assert all(len(each) == 800 - 120 for each in skipped)
    assert all(each <= set(range(800)) for each in skipped)
    assert set.intersection(*skipped) == set()  # each one has its turn


def test_ties_are_drawn():
    scores = torch.tensor([1.0] * 50 + [1.5])
    train = SkipConverged(Numbers(51), 10, loss_share=0.2, refresh=0.0)
    skipped = [skipped_of(train, scores, seed=seed) for seed in range(100)]
    assert {len(each) for each in skipped} == {10}  # 0.2 · 51.5 = 10.3
    assert set.union(*skipped) == set(range(50))


def test_a_loss_a_little_below_the_floor_counts_as_learned():
    scores = torch.tensor([-0.03, -0.02, -0.01, 2.0, 3.0])
    train = SkipConverged(Numbers(5), 5, refresh=0.0)  # 0.06 below, 5% of 5 would be allowed
    assert skipped_of(train, scores) == {0, 1, 2}
    scores = torch.tensor([-5.0, -4.0, -3.0, -2.0])
    at_lowest = SkipConverged(Numbers(4), 5, loss_share=0.2, refresh=0.0, floor=-5.0)
    assert skipped_of(at_lowest, scores) == {0, 1}  # 1 of 6 is less than a fifth, 3 of 6 is more


@pytest.mark.parametrize("score", [None, BLS, KalmanBLS])
def test_losses_below_the_floor_skip_nothing_and_are_warned_of_once(score, caplog):
    """Negative log-likelihoods of a density, of which zero is nothing special."""
    losses = torch.linspace(-3, 1, 100)
    train = SkipConverged(losses, num_epochs=6)
    if score is not None:
        score(train).proxy()
    loader = DataLoader(train, batch_size=5)
    for _ in range(4):
        for batch in loader:
            train.update(batch if score is None else batch.mean())
        assert len(train.sampler) == 100
    messages = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(messages) == 1
    assert "are below floor=0.0" in messages[0]
    if score is None:
        assert "75% of the scores" in messages[0]  # 75 of 100 numbers from −3 to 1
    right = SkipConverged(losses, num_epochs=6, floor=-3.0)
    for batch in DataLoader(right, batch_size=5):
        right.update(batch)
    assert len(right.sampler) < 100
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("delta", "first_full"), [(1.0, 10), (0.7, 7), (0.0, 0)])
def test_last_epochs_train_on_everything(delta, first_full):
    train = SkipConverged(Numbers(50), 10, loss_share=0.5, delta=delta)
    scores = torch.arange(50.0)
    is_full = [not skipped_of(train, scores, epoch=epoch) for epoch in range(12)]
    assert is_full == [epoch >= first_full for epoch in range(12)]


def test_a_forgotten_sample_comes_back():
    """All but ten are learned; when the refreshed ones turn out to be hard, they are kept."""
    scores = torch.cat([torch.full((90,), 1e-6), torch.ones(10)])
    train = with_scores(SkipConverged(Numbers(100), 10, loss_share=0.01), scores)
    served = []
    for batch in DataLoader(train, batch_size=10):
        train.update(torch.ones(batch.numel()))
        served += batch.tolist()
    assert len(served) == 10 + round(0.15 * 90)
    later = {i for batch in DataLoader(train, batch_size=10) for i in batch.tolist()}
    assert set(served) <= later
