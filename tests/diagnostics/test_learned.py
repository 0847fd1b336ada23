"""How much of the loss is held by how few samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dynaprune.diagnostics.learned import learned_share


@pytest.mark.parametrize("seed", range(5))
def test_what_is_learned_holds_a_twentieth_of_the_loss(seed):
    losses = np.random.default_rng(seed).gamma(0.3, size=1000)
    share = learned_share(losses)
    ordered = np.sort(losses)
    count = round(share * 1000)
    assert ordered[:count].sum() <= 0.05 * losses.sum() < ordered[: count + 1].sum()


def test_where_all_are_alike_a_twentieth_is_learned():
    assert learned_share(np.ones(1000)) == pytest.approx(0.05)


@pytest.mark.parametrize("losses", [[], [0.0, 0.0], [1.0, -0.1]])
def test_where_that_says_nothing(losses):
    assert math.isnan(learned_share(np.array(losses)))
