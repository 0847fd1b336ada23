"""How many samples look wrong, told from their losses."""

from __future__ import annotations

import numpy as np
import pytest

from dynaprune.diagnostics.mislabeled import wrong_share


def mixed(share: float, seed: int, size: int = 1000) -> tuple[np.ndarray, float]:
    """Return gamma distributed losses, some of them of a normal group around 3, and how many."""
    random = np.random.default_rng(seed)
    is_wrong = random.random(size) < share
    losses = np.where(is_wrong, random.normal(3, 0.5, size), random.gamma(1, 0.3, size))
    return losses, float(is_wrong.mean())


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("share", [0.2, 0.3, 0.4])
def test_a_group_is_found(share, seed):
    losses, truth = mixed(share, seed)
    assert wrong_share(losses) == pytest.approx(truth, abs=0.02)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "draw",
    [
        lambda random: random.exponential(1, 1000),
        lambda random: random.gamma(0.1, 1, 1000),
        lambda random: random.gamma(3, 1, 1000),
        lambda random: random.lognormal(0, 2, 1000),
        lambda random: random.normal(-5, 1, 1000),
        lambda random: random.normal(6, 0.5, 1000),
        lambda random: random.pareto(2, 1000),
        lambda random: np.maximum(0, random.exponential(1, 1000) - 0.7),  # half of them are 0
    ],
    ids=["exponential", "peaked", "gamma", "lognormal", "normal", "alike", "pareto", "hinge"],
)
def test_one_skewed_group_is_none(draw, seed):
    assert wrong_share(draw(np.random.default_rng(seed))) == 0


def test_scale_and_level_do_not_matter():
    losses, truth = mixed(0.3, seed=0)
    found = wrong_share(losses)
    assert found == pytest.approx(truth, abs=0.02)
    for scale, level in ((1e-4, 0), (1e4, 0), (1, -7), (3, 100)):
        assert wrong_share(scale * losses + level) == pytest.approx(found, abs=0.002)


def test_a_group_of_most_samples_is_not_of_wrong_labels():
    losses, truth = mixed(0.8, seed=0)
    assert truth > 0.5
    assert wrong_share(losses) == 0


@pytest.mark.parametrize("losses", [[1.0], [2.0] * 9, [1.0, 2.0], [0.0] * 9 + [3.0], [1.0, 2.0, 4]])
def test_few_or_equal_losses(losses):
    assert wrong_share(np.array(losses)) == 0


def test_a_loss_far_away_takes_no_memory():
    losses, truth = mixed(0.3, seed=0)
    assert wrong_share(np.append(losses, 1e30)) in (0, pytest.approx(truth, abs=0.02))
