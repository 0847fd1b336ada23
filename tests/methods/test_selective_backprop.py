"""SelectiveBackprop by its description, and unequal probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import Numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from dynaprune.methods import SelectiveBackprop
from dynaprune.methods._unequal import drawn, inclusion_probabilities
from dynaprune.utils.percentiles import percentiles
from dynaprune.utils.rng import epoch_generator


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.integers(0, 20), min_size=1, max_size=60))
def test_percentiles_are_mean_ranks(values):
    array = np.array(values, dtype=np.float32)
    expected = (rankdata(array, method="average") - 0.5) / array.size
    assert percentiles(array) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=60),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_samples_are_exactly_as_many(sizes, seed, data):
    count = data.draw(st.integers(1, len(sizes)))
    sizes = np.array(sizes, np.float32)
    probabilities = inclusion_probabilities(sizes, count)
    assert probabilities.sum() == pytest.approx(count)
    assert probabilities.max() <= 1 + 1e-6
    inside = probabilities < 1 - 1e-6
    ratios = probabilities[inside] / sizes[inside]
    assert ratios == pytest.approx(np.full(ratios.size, ratios.mean() if ratios.size else 0.0))
    mask = drawn(probabilities, count, epoch_generator(seed, 0))
    assert np.count_nonzero(mask) == count
    assert mask[~inside].all() or count == len(sizes) or not (~inside).any()


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_chances_are_percentiles_to_a_power(beta):
    total, draws = 30, 6000
    scores = torch.randperm(total, generator=torch.Generator().manual_seed(0)).float()
    train = SelectiveBackprop(Numbers(total), 10, saving=beta / (1 + beta))
    kept, served = round(total / (1 + beta)), np.zeros(total)
    for seed in range(draws):
        indices = train.select(scores, 0, epoch_generator(seed, 0)).indices.numpy()
        assert indices.size == kept
        served[indices] += 1
    sizes = ((scores.double().numpy() + 0.5) / total) ** beta
    chances = kept * sizes / sizes.sum()
    assert chances.max() < 1 + 0.01
    chances = np.minimum(chances, 1)
    deviation = np.sqrt(chances * (1 - chances) / draws)
    assert (abs(served / draws - chances) <= 4.5 * deviation + 5e-3).all()


def test_ties_have_equal_chances():
    scores = torch.tensor([0.0] * 10 + [1.0] * 10)
    train = SelectiveBackprop(Numbers(20), 10)
    served = np.zeros(20)
    for seed in range(3000):
        served[train.select(scores, 0, epoch_generator(seed, 0)).indices.numpy()] += 1
    # percentiles 1/4 and 3/4, and ten are kept
    expected = np.repeat([0.25, 0.75], 10)
    deviation = math.sqrt(0.25 * 0.75 / 3000)
    assert abs(served / 3000 - expected).max() < 5 * deviation


@pytest.mark.parametrize(("ratio", "beta"), [(0.0, 0.0), (0.5, 1.0), (0.75, 3.0)])
def test_saving_determines_beta(ratio, beta):
    assert SelectiveBackprop(Numbers(10), 5, saving=ratio).beta == pytest.approx(beta)
    assert SelectiveBackprop(Numbers(10), 5).beta == 1.0
