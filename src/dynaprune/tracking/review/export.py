"""Suspects as a table in a file."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...training.checkpoint import whole_file
from ...utils.optional_imports import require
from ..report.html import checked_path
from .cards import Labels
from .ledger import Ledger


def columns_of(
    ledger: Ledger,
    suspects: NDArray[np.int64],
    ids: Sequence[Any] | None = None,
    labels: Labels | None = None,
) -> dict[str, Sequence[Any] | NDArray[Any]]:
    """Return what is known of each suspect by the name of its column, M values each.

    Arguments:
        ledger: what the run knows of all samples.
        suspects: int64, shape (M,): the indices of the suspects.
        ids: the names of all samples; no column without.
        labels: the labels of all samples; no column without.
    """
    indices = suspects.tolist()
    columns: dict[str, Sequence[Any] | NDArray[Any]] = {"index": suspects}
    if ledger.keys is not None:
        columns = {"fingerprint": ledger.keys[suspects]}
    if ids is not None:
        columns["id"] = [ids[index] for index in indices]
    if labels is not None and labels.values is not None:
        columns["label"] = [labels.of(index) for index in indices]
    every = {
        "label_quality": ledger.label_quality,
        "mean_excess": ledger.mean_excess,
        "score": ledger.scores,
        "visits": ledger.visits,
        "skipped": ledger.skipped,
        "last_epoch": ledger.last_epochs,
    }
    return {**columns, **{name: values[suspects] for name, values in every.items()}}


def write_table(
    columns: dict[str, Sequence[Any] | NDArray[Any]], path: str | os.PathLike[str]
) -> Path:
    """Write a table to a file, as Parquet if its name ends in .parquet, else as CSV.

    Arguments:
        columns: the values of each column, by its name.
        path: the file.

    Raises:
        ImportError: pandas or pyarrow is not installed; only Parquet needs them.
        OSError: the file cannot be written.
    """
    path, content = checked_path(path, "the table, such as suspects.csv"), io.BytesIO()
    if path.suffix == ".parquet":
        pandas = require("pandas", "export")
        require("pyarrow", "export")
        pandas.DataFrame(columns).to_parquet(content, index=False)
    else:
        text = io.TextIOWrapper(content, encoding="utf-8", errors="replace", newline="")
        rows = csv.writer(text)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
        text.flush()
    with whole_file(path) as file:
        file.write(content.getbuffer())
    return path
