"""What the losses of batches tell of a training: the spread of single losses, and their fall."""

from __future__ import annotations

import numpy as np
import pytest

from dynaprune.scores.loss_progress import ProgressEstimate
from dynaprune.scores.loss_shape import share_of_learned

LOSSES = np.random.default_rng(0).exponential(1, 4000)
"""Of variation 1."""


def share_holding(losses, loss_share):
    """Return the share of the lowest losses that together hold `loss_share`."""
    held = np.cumsum(np.sort(losses))
    return np.searchsorted(held, loss_share * held[-1], side="right") / losses.size


@pytest.mark.parametrize("loss_share", [0.01, 0.05, 0.1, 0.5])
@pytest.mark.parametrize("shape", [0.4, 0.7, 1.0, 2.0, 5.0])
def test_share_of_learned_of_weibull_losses(shape, loss_share):
    losses = np.random.default_rng(0).weibull(shape, 1_000_000)
    found = share_of_learned(losses.std() / losses.mean(), loss_share)
    assert found == pytest.approx(share_holding(losses, loss_share), abs=0.005)


def test_share_of_learned_at_the_ends():
    assert share_of_learned(0.0, 0.05) == pytest.approx(0.05, abs=1e-6)
    assert share_of_learned(1.0, 0.0) == 0.0
    assert share_of_learned(1.0, 1 - 1e-12) == pytest.approx(1, abs=1e-9)
    assert 0.9 < share_of_learned(50.0, 0.05) < 1
    shares = [share_of_learned(variation, 0.05) for variation in np.linspace(0, 10, 50)]
    assert shares == sorted(shares)


@pytest.mark.parametrize("batch_size", [1, 8, 32])
def test_progress_of_samples_is_told_from_batches(batch_size):
    random, estimate = np.random.default_rng(0), ProgressEstimate()
    assert estimate.value is None
    for level in (3.0, 2.0, 1.9):
        order = random.permutation(np.tile(LOSSES, 10))
        means = level * order.reshape(-1, batch_size).mean(1)
        estimate.add(np.full(means.size, batch_size), means.astype(np.float32))
    assert estimate.value.variation == pytest.approx(LOSSES.std() / LOSSES.mean(), rel=0.05)
    assert estimate.value.fall == pytest.approx(0.05, abs=1e-4)


def test_a_fall_within_the_epoch_is_no_variation():
    sizes, means = np.full(100, 8), np.linspace(2, 1, 100).astype(np.float32)
    estimate = ProgressEstimate()
    estimate.add(sizes, means)
    assert estimate.value.variation == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("level", [0.0, -1.0])
def test_losses_that_are_not_positive_tell_nothing(level):
    sizes, means = np.full(100, 8), np.ones(100, dtype=np.float32)
    estimate = ProgressEstimate()
    for _ in range(2):
        estimate.add(sizes, means)
    assert estimate.value.fall == 0
    estimate.add(sizes, level * means)
    assert estimate.value is None
    estimate.add(sizes, means)
    assert estimate.value.fall == 1  # as after a first epoch


def test_an_epoch_of_few_batches_tells_no_variation():
    estimate = ProgressEstimate()
    for _ in range(2):
        estimate.add(np.array([8, 8]), np.array([1, 2], dtype=np.float32))
    assert estimate.value is None


def test_progress_goes_on_from_its_state():
    random, sizes = np.random.default_rng(0), np.full(50, 4)
    one, other = ProgressEstimate(), ProgressEstimate()
    for _ in range(3):
        losses = random.exponential(size=50).astype(np.float32)
        one.add(sizes, losses)
        other.restore(other.state())
        other.add(sizes, losses)
    assert one.value == other.value
    for place, value in ((0, -1.0), (1, np.inf), (2, -1.0), (2, np.nan), (3, 2.0)):
        state = one.state()
        state[place] = value
        with pytest.raises(RuntimeError, match="its progress cannot be"):
            other.restore(state)
