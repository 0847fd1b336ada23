"""Reading the file of verdicts that the page of suspects saves."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .verdicts import Verdicts

VERDICTS = ("right", "wrong", "skip")
"""What a person can say of a label."""

MAX_DIGITS = 15
"""The longest index."""


def read_verdicts(path: str | os.PathLike[str], *, ids: Iterable[Any] | None = None) -> Verdicts:
    """Return the verdicts that the page of suspects has saved.

    The file is a CSV table with a column `verdict` (right, wrong or skip), a column `index`, and
    optionally `id`, `label` and `new_label`. Skipped samples are left out.

    Arguments:
        path: the file.
        ids: the names of all samples in their order now, to find the samples by the column `id`;
            by default they are found by `index`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such table; a verdict is unknown; a sample occurs twice, or
            is not among `ids`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from dynaprune.tracking import read_verdicts
        >>> file = Path(tempfile.mkdtemp()) / "verdicts.csv"
        >>> _ = file.write_text("index,verdict\\n7,wrong\\n3,right\\n5,skip\\n")
        >>> read_verdicts(file).wrong
        array([7])
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}: the button 'Save verdicts' of the page writes it"
        )
    places = None if ids is None else _places_of(ids)
    lines: dict[int, int] = {}  # from each sample to its line
    found: list[tuple[int, bool, str, str]] = []
    for line, row in _rows(path, "index" if places is None else "id"):
        verdict = row["verdict"].strip().lower()
        if verdict not in VERDICTS:
            raise ValueError(
                f"line {line} of {path}: the verdict must be right, wrong or skip, but it is "
                f"{row['verdict']!r}"
            )
        index = _index_of(row, places, f"line {line} of {path}")
        if index in lines:
            raise ValueError(
                f"lines {lines[index]} and {line} of {path} are on the same sample, {index}: keep "
                "one of them"
            )
        lines[index] = line
        if verdict != "skip":
            is_wrong = verdict == "wrong"
            new = row.get("new_label") or ""
            found.append((index, is_wrong, row.get("label") or "", new if is_wrong else ""))
    return Verdicts(
        np.array([row[0] for row in found], dtype=np.int64),
        np.array([row[1] for row in found], dtype=np.bool_),
        np.array([row[2] for row in found], dtype=np.str_),
        np.array([row[3] for row in found], dtype=np.str_),
    )


def _rows(path: Path, sample: str) -> Iterable[tuple[int, Mapping[str, str]]]:
    """Yield the rows of a table, each with the number of its line.

    Raises:
        ValueError: it is no table with the needed columns.
    """
    # spreadsheets write a byte order mark
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file)
        try:
            columns = list(table.fieldnames or ())
            if not {sample, "verdict"} <= set(columns):
                given = ", ".join(map(repr, columns)) or "none"
                raise ValueError(
                    f"{path} must have the columns {sample!r} and 'verdict', separated by commas, "
                    f"but its columns are {given[:200]}"
                )
            for row in table:
                if None in row or None in row.values():
                    raise ValueError(
                        f"line {table.line_num} of {path} must have {len(columns)} cells, as the "
                        "first line has"
                    )
                yield table.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no table of verdicts in CSV: {error}") from error


def _places_of(ids: Iterable[Any]) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, name in enumerate(ids):
        if places.setdefault(str(name), place) != place:
            raise ValueError(f"ids must be unique, but {name!r} was given twice")
    return places


def _index_of(row: Mapping[str, str], places: Mapping[str, int] | None, where: str) -> int:
    if places is not None:
        if row["id"] not in places:
            raise ValueError(
                f"{where}: no sample has the id {row['id']!r}: give the ids that the page has shown"
            )
        return places[row["id"]]
    text = row["index"].strip()
    if not text.isdecimal() or len(text) > MAX_DIGITS:
        raise ValueError(
            f"{where}: the index must be an integer of at least 0, but it is {row['index']!r}"
        )
    return int(text)
