"""Labels of all samples, as given and as at hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from dynaprune.data.labels import check_labels, class_names, class_sizes, classes_of, labels_of

pandas = pytest.importorskip("pandas")


class Labelled(Dataset):
    def __init__(self, labels, length=4):
        self.labels, self.length = labels, length

    def __getitem__(self, index):
        return index

    def __len__(self):
        return self.length


class Unread(Labelled):
    @property
    def targets(self):
        raise RuntimeError("call load() first")


class Endless(Dataset):
    """Without a length, as a base of a `Subset` may be."""

    targets = torch.arange(9)

    def __getitem__(self, index):
        return index


class Halved(Subset):
    def __len__(self):
        return super().__len__() // 2


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "b", "b", "a"],
        np.array(["a", "b", "b", "a"], dtype=object),
        pandas.Series(["a", "b", "b", "a"]),
        pandas.Series(["a", "b", "b", "a"], dtype="category"),
    ],
    ids=["list", "objects", "series", "category"],
)
def test_texts_are_read_as_given_and_at_hand(labels):
    assert check_labels(labels, None, 4).tolist() == ["a", "b", "b", "a"]
    assert labels_of(Labelled(labels)).tolist() == ["a", "b", "b", "a"]


def named(labels, classes):
    dataset = Labelled(labels, length=len(labels))
    dataset.classes = classes
    return dataset


def test_parts_of_one_dataset_with_the_same_classes():
    first, second = named([0, 1, 1], ["cat", "dog"]), named([1, 0], ["cat", "dog"])
    both = ConcatDataset([first, Subset(second, [1])])
    assert labels_of(both).tolist() == [0, 1, 1, 0]
    assert labels_of(Subset(both, [3, 1])).tolist() == [0, 1]
    assert class_names(Subset(both, [3, 1])) == ["cat", "dog"]
    for other in (named([1, 0], ["dog", "cat"]), named([1, 0], None), named(["a", "b"], None)):
        assert labels_of(ConcatDataset([first, other])) is None  # 0 would be of two classes
        assert class_names(ConcatDataset([first, other])) is None
    assert labels_of(ConcatDataset([Labelled([0, 1, 1, 0]), Labelled([0.5] * 4)])) is None


@pytest.mark.parametrize(
    "dataset",
    [
        Unread(None),
        Subset(Endless(), [0, 1]),
        Halved(TensorDataset(torch.zeros(4), torch.arange(4)), [0, 1, 2, 3]),
        Labelled([0, 1], length=4),
        Labelled([[0], [1], [0], [1]]),
        Labelled([0.5, 0.1, 0.2, 0.3]),
    ],
    ids=["raises", "no length", "another length", "too few", "columns", "floats"],
)
def test_what_cannot_be_read_is_not_at_hand(dataset):
    assert labels_of(dataset) is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (10, "as a list, an array or a tensor, but a int was given"),
        ("aabb", "but a str was given"),
        ({0: 1, 1: 0, 2: 1, 3: 0}, "but a dict was given"),
        ([0, 1], r"shape \(4,\), but have shape \(2,\)"),
    ],
)
def test_what_is_no_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        check_labels(labels, None, 4)


def test_a_tensor_is_read_as_it_is():
    assert check_labels(torch.tensor([3, 1, 1, 0], dtype=torch.uint8), None, 4).tolist() == [
        3,
        1,
        1,
        0,
    ]
    assert check_labels(torch.tensor([0.5, 1.0]).bfloat16(), None, 2).tolist() == [0.5, 1.0]


def test_sizes_leave_out_what_has_no_label():
    labels = np.array([0] * 6 + [1] * 3 + [-1])
    assert class_sizes(labels) == (6, 3)
    assert class_sizes(np.array([0.0] * 6 + [1.0] * 3 + [np.nan])) == (6, 3)
    assert class_sizes(np.array(["a"] * 6 + ["b"] * 3)) == (6, 3)
    assert class_sizes(np.array([-1, -1])) is None
    assert class_sizes(None) is None


@pytest.mark.parametrize(("kinds", "are_classes"), [(50, True), (51, False)])
def test_more_than_one_kind_for_two_samples_is_no_class(kinds, are_classes):
    labels = np.arange(100) % kinds
    assert (classes_of(labels) is not None) == are_classes
