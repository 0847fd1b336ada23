"""Columns of Hugging Face datasets."""

from __future__ import annotations

from typing import Any


def stored_column(dataset: Any, name: str) -> Any:
    """Return the values of a column as they are stored.

    The dataset's format and its transform (`set_transform`) are for training: they may leave the
    column out, and would decode all samples, such as images, to read their labels.

    Arguments:
        dataset: a dataset with this column.
        name: the column.
    """
    plain = getattr(dataset, "with_format", None)
    return (dataset if plain is None else plain(None))[name]
