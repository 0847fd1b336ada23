"""How many losses do not fall, from groups of samples that were formed before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynaprune.losses.measurements import Measurements
from dynaprune.scores.loss_trends import GROUPS, LossTrends


def measured(groups, losses):
    """Measurements of groups of samples, shape (G, B), with the mean of their losses, (N,)."""
    return Measurements(
        torch.from_numpy(groups.ravel()),
        torch.full((len(groups),), groups.shape[1]),
        torch.from_numpy(losses[groups].mean(1)).float(),
        torch.arange(len(groups)),
    )


def followed(slopes_of, count=4000, epochs=10, size=1, num_epochs=10, seed=0, level=1.0):
    """Follow losses that fall by `slopes_of(rank)` in the logarithm per epoch; ranks in [0, 1).

    They begin at 0.5 to 1.5 of those of the untrained model, times `level`.
    """
    random = np.random.default_rng(seed)
    ranks = random.permutation(count) / count
    trends = LossTrends(num_epochs)
    for epoch in range(epochs):
        losses = (0.5 + ranks) * np.exp(-slopes_of(ranks) * epoch) * (level if epoch else 1.0)
        order = random.permutation(count).reshape(-1, size)
        trends.add(measured(order, losses), ranks.astype(np.float32))
    return trends


def expected(ranks):
    """The slope that right samples of a rank are expected to have, relative to the easiest."""
    return 0.1 * (1 - 0.6 * np.maximum(0, (ranks - 0.2) / 0.8))


@pytest.mark.parametrize("size", [1, 4, 8])
@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.3])
def test_finds_the_share_that_does_not_fall(size, wrong):
    found = followed(lambda r: np.where(r >= 1 - wrong, 0.0, expected(r)), 16_000, size=size)
    assert found.unlearned.share == pytest.approx(wrong, abs=0.04 + 2 * found.unlearned.error)
    assert 0 < found.unlearned.error < 0.05


def test_half_wrong_groups_count_half():
    random = np.random.default_rng(1)

    def slopes(ranks):
        is_wrong = (ranks >= 0.8) & (random.permutation(ranks.size) % 2 == 0)
        slopes.kept = getattr(slopes, "kept", is_wrong)  # the same samples in each epoch
        return np.where(slopes.kept, 0.0, expected(ranks))

    assert followed(slopes, 16_000).unlearned.share == pytest.approx(0.1, abs=0.04)


def test_where_high_losses_fall_as_fast_the_share_is_negative():
    assert followed(lambda ranks: np.full(ranks.shape, 0.1), epochs=5).unlearned.share < -0.05


def test_what_is_learned_counts_as_right_however_little_its_losses_fall():
    """As of a linear model: losses of samples near the border hardly fall, but they are low."""
    slopes = lambda ranks: np.where(ranks >= 0.7, 0.0, 0.1)  # noqa: E731
    high, low = followed(slopes), followed(slopes, level=0.4)
    assert high.unlearned.share > 0.25
    assert low.unlearned.share == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("num_epochs", "before"), [(1, 1), (8, 1), (9, 2), (40, 5)])
def test_groups_are_formed_after_an_eighth_of_the_run(num_epochs, before):
    count = 800
    trends, same = LossTrends(num_epochs), np.arange(count, dtype=np.float32)
    losses = np.linspace(1, 2, count)
    known = []
    for epoch in range(before + 4):
        trends.add(measured(np.arange(count)[:, None], losses * 0.9**epoch), same)
        known.append(trends.unlearned is not None)
    assert known == [epoch >= before + 2 for epoch in range(before + 4)]  # by three epochs


def test_members_stay_where_they_were_put():
    """Groups that were formed anew by each epoch's losses would show no trend."""
    random = np.random.default_rng(2)
    trends, count = LossTrends(8), 4000
    mean_excess = random.normal(size=count).astype(np.float32)
    for epoch in range(6):
        losses = np.exp(mean_excess) * 0.9**epoch
        shown = mean_excess if epoch == 1 else random.normal(size=count).astype(np.float32)
        trends.add(measured(np.arange(count)[:, None], losses), shown)
    again = LossTrends(8)
    for epoch in range(6):
        losses = np.exp(mean_excess) * 0.9**epoch
        again.add(measured(np.arange(count)[:, None], losses), mean_excess)
    assert trends.unlearned == again.unlearned


def test_large_batches_tell_nothing():
    assert followed(expected, 16_000, size=10).unlearned is None


@pytest.mark.parametrize("losses", [np.zeros(400), np.full(400, -1.0), np.full(400, 2.0)])
def test_losses_without_a_ratio_or_a_change_tell_nothing(losses):
    trends = LossTrends(8)
    for _ in range(6):
        trends.add(measured(np.arange(400)[:, None], losses), np.arange(400, dtype=np.float32))
    assert trends.unlearned is None


def test_samples_of_a_stream_that_came_later_count_for_nothing():
    def followed_on(grows):
        trends, count = LossTrends(8), 2000
        ranks = np.linspace(0, 1, count)
        for epoch in range(6):
            losses = (0.5 + ranks) * np.exp(-expected(ranks) * epoch)
            if grows and epoch == 3:
                trends.grow(np.arange(2000), 3000)
            if grows and epoch >= 3:
                losses = np.append(losses, np.full(1000, 9.0))
            excess = np.resize(ranks, losses.size).astype(np.float32)
            trends.add(measured(np.arange(losses.size)[:, None], losses), excess)
        return trends.unlearned.share

    assert followed_on(grows=True) == pytest.approx(followed_on(grows=False), abs=1e-6)


def test_goes_on_from_its_state():
    ranks = np.linspace(0, 1, 800)
    one, other = LossTrends(8), LossTrends(8)
    for epoch in range(6):
        batches = measured(
            np.arange(800)[:, None], (0.5 + ranks) * np.exp(-expected(ranks) * epoch)
        )
        for each in (one, other):
            each.add(batches, ranks.astype(np.float32))
        resumed = LossTrends(8)
        resumed.load_state_dict(other.state_dict(), 800)
        other = resumed
        assert other.unlearned == one.unlearned
    assert one.unlearned is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"groups": torch.zeros(3, dtype=torch.uint8)},
            "a group from 0 to 8 for each of 4 samples",
        ),
        ({"groups": torch.full((4,), 9, dtype=torch.uint8)}, "a group from 0 to 8"),
        ({"sums": torch.full((4, GROUPS), float("nan"), dtype=torch.float64)}, "must be finite"),
        ({"sums": torch.full((4, GROUPS), -1.0, dtype=torch.float64)}, "at least 0"),
        ({"num_epochs": 1.5}, "trends' num_epochs"),
        ({"first_loss": float("inf")}, "trends' first_loss"),
    ],
)
def test_a_damaged_state_says_what_is_wrong(change, message):
    with pytest.raises(RuntimeError, match=message):
        LossTrends(8).load_state_dict(LossTrends(8).state_dict() | change, 4)
