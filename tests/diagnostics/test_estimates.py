"""Correlations and ratios beside their textbook formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from audits import LOSSES, SCORES
from scipy import stats

from dynaprune.diagnostics.estimates import rank_correlation, ratio_of_means


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_that_of_a_textbook(ties):
    first, second = SCORES.numpy(), LOSSES.numpy()
    if ties:
        first, second = first.round(), second.round()
    found = rank_correlation(first, second)
    r = stats.spearmanr(first, second).statistic
    assert found.value == pytest.approx(r, abs=1e-12)
    reach = stats.norm.ppf(0.975) * math.sqrt((1 + r**2 / 2) / 397)
    assert found.low == pytest.approx(math.tanh(math.atanh(r) - reach))
    assert found.high == pytest.approx(math.tanh(math.atanh(r) + reach))


@pytest.mark.parametrize("sign", [1, -1])
def test_rank_correlation_of_the_same_order(sign):
    found = rank_correlation(np.arange(9.0), sign * np.arange(9.0) ** 3)
    assert (found.value, found.low, found.high) == (sign, sign, sign)


def test_rank_correlation_that_is_not_known():
    nothing = rank_correlation(np.ones(9), np.arange(9.0))
    assert math.isnan(nothing.value)
    assert str(nothing) == "not known"
    few = rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]))
    assert few.value == pytest.approx(0.5)
    assert math.isnan(few.low)
    assert str(few) == "0.50"


def test_interval_of_a_ratio_is_that_of_its_linearisation():
    losses = LOSSES.numpy()
    chosen = np.arange(400) % 3 == 0
    found = ratio_of_means(losses, chosen, seed=0)
    mean, share = losses.mean(), chosen.mean()
    ratio = losses[chosen].mean() / mean
    influence = chosen / share * (losses - losses[chosen].mean()) / mean
    influence -= ratio * (losses - mean) / mean
    reach = stats.norm.ppf(0.975) * influence.std() / 20
    assert found.value == pytest.approx(ratio)
    assert found.low == pytest.approx(ratio - reach, abs=0.2 * reach)
    assert found.high == pytest.approx(ratio + reach, abs=0.2 * reach)


@pytest.mark.parametrize(
    ("losses", "chosen"), [([1, 2], [False, False]), ([-1, 2], [True, False]), ([0, 0], [True] * 2)]
)
def test_ratios_that_are_not_known(losses, chosen):
    found = ratio_of_means(np.array(losses, dtype=float), np.array(chosen), seed=0)
    assert math.isnan(found.value)
