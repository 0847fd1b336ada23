"""The labels of all samples, if a dataset provides them without reading every sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from .columns import stored_column

LETTERS = 80
"""Characters of a label that are shown."""

NAMES = ("label", "labels", "target", "targets")
"""The attributes of datasets, and the keys of samples that are dicts, that may hold labels."""

GIVE_LABELS = (
    "Give the dataset an attribute `labels` or `targets` with one label per sample, or pass them: "
)
"""What to do if labels are not known; the call that takes them comes next."""


def labels_of(dataset: Any) -> NDArray[Any] | None:
    """Return the label of each sample, shape (N,), or `None` if they are not known.

    They are read from the second tensor of a `TensorDataset` if it has integers, from `targets` and
    `labels` as in torchvision, from a column `label` as in Hugging Face's datasets, and from a
    `Subset` or a `ConcatDataset` of these, if all its parts have the same classes. Values that
    cannot be read, or are not one per sample, are ignored.
    """
    try:
        found = _labels_in(dataset)
        return found if found is not None and len(found) == len(dataset) else None
    except Exception:  # a user's property may raise anything, and labels are optional here
        return None


def _labels_in(dataset: Any) -> NDArray[Any] | None:
    if isinstance(dataset, Subset):
        whole = _labels_in(dataset.dataset)
        return None if whole is None else whole[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [_labels_in(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        is_one = _have_one([part.dtype.kind for part in known]) and _have_one(_names_in(dataset))
        return np.concatenate(known) if len(known) == len(parts) and is_one else None
    count = len(dataset)
    if isinstance(dataset, TensorDataset):
        return _checked(dataset.tensors[1], count) if len(dataset.tensors) > 1 else None
    for name in NAMES:
        found = _checked(getattr(dataset, name, None), count)
        if found is not None:
            return found
    columns = getattr(dataset, "column_names", None)
    if isinstance(columns, (list, tuple)):
        for name in NAMES:
            if name in columns:
                return _checked(stored_column(dataset, name), count)
    return None


def check_labels(labels: Any, dataset: Any, count: int) -> NDArray[Any] | None:
    """Return the label of each sample, shape (N,): the given ones, or else those of the dataset.

    Arguments:
        labels: the given labels, or `None`.
        dataset: the dataset that may have labels, or `None`.
        count: N.

    Raises:
        ValueError: they are not one per sample.
    """
    if labels is None:
        return None if dataset is None else labels_of(dataset)
    known = as_labels(labels)
    if known.shape != (count,):
        raise ValueError(
            f"labels must be one per sample, shape ({count},), but have shape {known.shape}"
        )
    return known


def classes_of(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
    """Return the classes of labels, shape (K,), and the class number of each sample, shape (N,).

    `None` if labels are values rather than classes: more than one distinct value per two samples.
    """
    kinds, numbers = np.unique(labels, return_inverse=True)
    return None if kinds.size > max(2, labels.size // 2) else (kinds, numbers)


def class_sizes(labels: NDArray[Any] | None) -> tuple[int, int] | None:
    """Return the numbers of samples of the largest and the smallest class, `None` without classes.

    −1 and NaN mean that a sample has no label.

    Arguments:
        labels: shape (N,), or `None` where they are not known.

    Example:
        >>> import numpy as np
        >>> from dynaprune.data.labels import class_sizes
        >>> class_sizes(np.array([0] * 60 + [1] * 30 + [2] * 10 + [-1] * 5))
        (60, 10)
    """
    if labels is None:
        return None
    if labels.dtype.kind in "iuf":
        labels = labels[(labels != -1) & (labels == labels)]
    classes = classes_of(labels)
    if classes is None or labels.size == 0:
        return None
    counts = np.bincount(classes[1])
    return int(counts.max()), int(counts.min())


def class_names(dataset: Any) -> Sequence[str] | None:
    """Return the names of classes by number, as torchvision and Hugging Face provide them.

    `None` if the dataset has none, or raises an error.
    """
    try:
        return _class_names(dataset)
    except Exception:  # a user's property may raise anything, and names are optional here
        return None


def _class_names(dataset: Any) -> Sequence[str] | None:
    if isinstance(dataset, Subset):
        return _class_names(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        of_parts = _names_in(dataset)
        return of_parts[0] if _have_one(of_parts) else None
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if names is None and isinstance(features, dict):
        for name in NAMES:
            names = names or getattr(features.get(name), "names", None)
    return names if isinstance(names, (list, tuple)) else None


def _names_in(dataset: ConcatDataset[Any]) -> list[Any]:
    """Return the names of classes of each part: they must not differ, or labels would be mixed."""
    return [_class_names(part) for part in dataset.datasets]


def _have_one(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def name_of(label: Any, names: Sequence[str] | None) -> str:
    """Return a label as text, shortened if it is long."""
    if isinstance(label, torch.Tensor) and label.numel() == 1:
        label = label.item()
    is_number = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
    if names is not None and is_number and 0 <= int(label) < len(names):
        label = names[int(label)]
    text = str(label)
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def as_labels(values: Any) -> NDArray[Any]:
    """Return given labels as an array, shape (N,), of numbers or strings.

    Raises:
        ValueError: they are no sequence.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    if isinstance(values, (str, Mapping)) or not hasattr(values, "__iter__"):
        raise ValueError(
            f"labels must be one per sample, as a list, an array or a tensor, but a "
            f"{type(values).__name__} was given"
        )
    if hasattr(values, "to_numpy"):  # a column of pandas
        values = values.to_numpy()
    given = list(values)
    try:
        array = np.asarray(given)
    except ValueError:  # sequences of different lengths
        array = np.empty(0, dtype=object)
    if array.shape != (len(given),) or array.dtype.kind not in "iufbUS":
        array = np.array([str(each) for each in given])
    return array


def _checked(values: Any, count: int) -> NDArray[Any] | None:
    """Return values as an array if they can be the labels of `count` samples."""
    if values is None or callable(values):
        return None
    if isinstance(values, torch.Tensor):
        if values.is_floating_point() or values.is_complex() or values.layout != torch.strided:
            return None
        array = values.detach().cpu().numpy()
    else:
        try:
            array = np.asarray(values)
        except (TypeError, ValueError):  # such as sequences of different lengths
            return None
    if array.dtype.kind == "O" and all(isinstance(each, str) for each in array.ravel()):
        array = array.astype(str)
    if array.shape != (count,) or array.dtype.kind not in "iubUS":
        return None
    return array
