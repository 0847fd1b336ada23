"""The share of outliers that the moments of losses tell."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from dynaprune.scores.loss_shape import LossShape, share_of_outliers


@pytest.mark.parametrize("share", [0.15, 0.3, 0.45])
def test_share_of_outliers_of_two_points(share):
    # losses of 0 and 1
    variation, skewness = (1 - share) / share, (1 - 2 * share) / math.sqrt(share * (1 - share))
    shape = LossShape(math.sqrt(variation), skewness)
    assert share_of_outliers(shape) == pytest.approx(share)


@pytest.mark.parametrize("form", [0.3, 1.0, 2.0, 9.0])
def test_a_gamma_distribution_has_no_outliers(form):
    skewness = float(stats.gamma(form).stats("s"))
    assert share_of_outliers(LossShape(stats.gamma(form).std() / form, skewness)) == 0.0


@pytest.mark.parametrize(
    ("variation", "skewness"),
    [(0.5, -1.0), (-0.5, 0.5), (0.08, 0.05), (0.0, 0.0)],  # more than half; a mean below 0; alike
)
def test_no_outliers_where_nothing_can_be_told(variation, skewness):
    assert share_of_outliers(LossShape(variation, skewness)) == 0.0
