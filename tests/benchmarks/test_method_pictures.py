"""The pictures of what each method keeps."""

from __future__ import annotations

import numpy as np
import pytest

from dynaprune import methods


@pytest.fixture
def pictures(study):
    return study("method_pictures")


def test_every_method_has_settings(pictures):
    assert sorted(pictures.SETTINGS) == sorted(methods.__all__)


@pytest.mark.parametrize("name", ["InfoBatch", "EpsilonGreedy", "LossProportional", "StaticPrune"])
def test_a_run_keeps_what_its_method_promises(pictures, name):
    weights = pictures.weights_of(name, saving=0.3)
    assert weights.shape == (1200, 40)
    assert np.count_nonzero(weights) == 0.7 * weights.size
    easy, hard = np.count_nonzero(weights[:400]), np.count_nonzero(weights[-400:])
    if name == "StaticPrune":
        assert (weights == weights[:, :1]).all()
    else:
        assert easy < 0.75 * hard
    if name == "InfoBatch":  # weights sum to the number of samples, once there are scores
        np.testing.assert_allclose(weights[:, 1:].sum(axis=0), 1200, rtol=1e-5)


def test_a_picture_has_a_row_for_some_samples_and_its_settings_above(pictures):
    weights = np.zeros((pictures.SAMPLES, pictures.EPOCHS), np.float32)
    weights[:300, 0] = 2.0  # a quarter of the samples, the easiest, in the first epoch
    title = pictures.title_of("InfoBatch", weights)
    assert title == "saving=0.3: 1% of visits"  # 300 of 48,000
    assert pictures.title_of("NoPrune", weights + 1) == "defaults: 100% of visits"
    (axes,) = pictures.draw(weights, title).axes
    assert axes.get_title() == title
    drawn = axes.images[0].get_array()
    assert drawn.shape == (pictures.ROWS, pictures.EPOCHS)
    kept = ~np.ma.getmaskarray(drawn)
    assert kept[: pictures.ROWS // 4, 0].all()
    assert kept.sum() == pictures.ROWS // 4
