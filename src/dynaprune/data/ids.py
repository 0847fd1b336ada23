"""Names of samples, if a dataset knows them: the paths of their files, or a column."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from torch.utils.data import ConcatDataset, Subset

from .columns import stored_column

FILES = (
    *("samples", "imgs", "image_files", "image_paths", "files"),
    *("_samples", "_image_files", "_images"),  # torchvision: StanfordCars, Food101, OxfordIIITPet
    "im_files",  # Ultralytics
)
"""The attributes of datasets that may hold paths of files, or pairs that begin with one."""

SUFFIX = re.compile(r"\.(?=[0-9]*[A-Za-z])[0-9A-Za-z]{1,8}\Z")
"""The end of a file's name. It tells a path from the text of a sample."""


def sample_ids(dataset: Any, source: str = "auto") -> list[Any]:
    """Return the names of all samples, N in total, in the order of the dataset.

    Arguments:
        dataset: a map-style dataset, a `Subset` or a `ConcatDataset` of such ones.
        source: "auto" for the paths of the samples' files, as in torchvision's `ImageFolder`,
            without the dataset's `root`; else the column of a Hugging Face dataset.

    Raises:
        ValueError: the dataset has no paths, or no such column.

    Example:
        >>> from torch.utils.data import Subset
        >>> from dynaprune.data.ids import sample_ids
        >>> class Folder(list):
        ...     root, samples = "data", [("data/cat/1.png", 0), ("data/dog/1.png", 1)]
        >>> sample_ids(Subset(Folder([None, None]), [1]))
        ['dog/1.png']
    """
    if source == "auto":
        found = file_names(dataset)
        if found is None:
            raise ValueError(
                f"ids='auto' takes the paths of files from a dataset's {', '.join(FILES[:5])}, but "
                f"this {type(dataset).__name__} has no path of a file per sample there: give the "
                f"ids as a list, one per sample, or the name of a column{_columns_text(dataset)}"
            )
        return found
    column = _column(dataset, source)
    if column is None:
        raise ValueError(
            f"ids={source!r} must be 'auto' or a column of the dataset, but this "
            f"{type(dataset).__name__} has no such column{_columns_text(dataset)}: give a column, "
            "or the ids as a list, one per sample"
        )
    return column


def file_names(dataset: Any) -> list[str] | None:
    """Return the path of each sample's file, N in total, or `None` if they are not known."""
    try:
        return _files(dataset)
    except Exception:  # a user's property may raise anything, and names are optional here
        return None


def _files(dataset: Any) -> list[str] | None:
    if isinstance(dataset, Subset):
        whole = _files(dataset.dataset)
        return None if whole is None else [whole[index] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return _joined([_files(part) for part in dataset.datasets])
    for name in FILES:
        found = _paths(getattr(dataset, name, None), len(dataset))
        if found is not None:
            return _below(getattr(dataset, "root", None), found)
    return None


def _paths(values: Any, count: int) -> list[str] | None:
    """Return values as paths if each of them is one, or begins with one."""
    if callable(values) or not hasattr(values, "__getitem__") or len(values) != count:
        return None
    found = []
    for value in values:
        first = value[0] if isinstance(value, (list, tuple)) and value else value
        if not isinstance(first, (str, os.PathLike)):
            return None
        path = os.fspath(first)
        if not isinstance(path, str) or SUFFIX.search(path) is None:
            return None
        found.append(path)
    return found


def _below(root: Any, paths: list[str]) -> list[str]:
    """Return paths from the root on, if all are below it, with the same separator everywhere."""
    if isinstance(root, (str, os.PathLike)):
        prefix = os.path.join(os.fspath(root), "")
        if isinstance(prefix, str) and all(path.startswith(prefix) for path in paths):
            paths = [path[len(prefix) :] for path in paths]
    return [path.replace(os.sep, "/") for path in paths]


def _column(dataset: Any, name: str) -> list[Any] | None:
    if isinstance(dataset, Subset):
        whole = _column(dataset.dataset, name)
        return None if whole is None else [whole[index] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return _joined([_column(part, name) for part in dataset.datasets])
    return list(stored_column(dataset, name)) if name in _columns(dataset) else None


def _joined(parts: Sequence[list[Any] | None]) -> list[Any] | None:
    known = [part for part in parts if part is not None]
    return list(chain.from_iterable(known)) if len(known) == len(parts) else None


def _columns(dataset: Any) -> list[str]:
    """Return the columns of a dataset, or of the first one in it."""
    while isinstance(dataset, (Subset, ConcatDataset)):
        dataset = dataset.dataset if isinstance(dataset, Subset) else dataset.datasets[0]
    names = getattr(dataset, "column_names", None)
    return list(names) if isinstance(names, (list, tuple)) else []


def _columns_text(dataset: Any) -> str:
    columns = _columns(dataset)
    return f" (it has {', '.join(map(str, columns))})" if columns else ""
