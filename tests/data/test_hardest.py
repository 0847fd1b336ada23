"""The hardest samples of each class."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dynaprune.data.hardest import is_hardest, rank_in_class


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=20))
def test_ranks_count_the_harder_ones_of_the_class(samples):
    samples = samples * 4  # so that labels are classes, and not values
    labels = np.array([label for label, _ in samples], dtype=np.int64)
    hardness = np.array([value for _, value in samples], dtype=np.float64)
    ranks = rank_in_class(hardness, labels)
    for place, (label, value) in enumerate(samples):
        same = labels == label
        before = np.arange(len(samples)) < place
        harder = same & ((hardness > value) | ((hardness == value) & before))
        assert ranks[place] == harder.sum()


def test_a_tenth_of_each_class():
    labels = np.repeat([7, 8, 9], [30, 19, 9])
    hardness = np.concatenate([np.arange(30.0), np.arange(19.0), np.arange(9.0)])
    assert np.flatnonzero(is_hardest(hardness, labels)).tolist() == [27, 28, 29, 48]


def test_without_classes_all_are_in_one():
    hardness = np.random.default_rng(0).permutation(40).astype(np.float64)
    for labels in (None, np.arange(40.0)):  # values rather than classes
        assert sorted(hardness[is_hardest(hardness, labels)]) == [36, 37, 38, 39]
    assert is_hardest(np.zeros(0), None).shape == (0,)
