"""Reading the verdicts that a person has made on the page of suspects."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.labels import as_labels
from ...utils.validation import check_integer
from .cards import label_text

VERDICTS = ("right", "wrong", "skip")
"""What a person can say of a label."""

MAX_DIGITS = 15
"""The longest index."""


@dataclass(frozen=True)
class Verdicts:
    """What a person has said of the labels of M samples.

    Attributes:
        indices: int64, shape (M,): the samples.
        are_wrong: bool, shape (M,): whether a sample's label is wrong.
        labels: the labels that were judged, as texts, shape (M,); empty where there was none.
        new_labels: the labels that the samples should have, as texts, shape (M,); empty where the
            person has chosen none.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from torch.utils.data import Subset
        >>> from dynaprune.tracking import read_verdicts
        >>> file = Path(tempfile.mkdtemp()) / "verdicts.csv"
        >>> _ = file.write_text("index,label,verdict,new_label\\n2,cat,wrong,dog\\n0,cat,right,\\n")
        >>> verdicts = read_verdicts(file)
        >>> list(Subset(range(4), verdicts.kept(4)))  # without the wrong ones
        [0, 1, 3]
        >>> verdicts.relabel([0, 1, 0, 1], classes=["cat", "dog"]).tolist()
        [0, 1, 1, 1]
    """

    indices: NDArray[np.int64]
    are_wrong: NDArray[np.bool_]
    labels: NDArray[np.str_]
    new_labels: NDArray[np.str_]

    def __len__(self) -> int:
        return self.indices.size

    @property
    def right(self) -> NDArray[np.int64]:
        """The samples whose labels are right, in the order of the file."""
        return self.indices[~self.are_wrong]

    @property
    def wrong(self) -> NDArray[np.int64]:
        """The samples whose labels are wrong, in the order of the file."""
        return self.indices[self.are_wrong]

    def kept(self, count: int, *, relabeled: bool = False) -> list[int]:
        """Return the indices of all samples but those with wrong labels, ascending.

        Arguments:
            count: the number of all samples.
            relabeled: whether samples that have a new label are kept, too.

        Raises:
            TypeError: `count` is no integer.
            ValueError: a verdict is on a sample that is not among so many.
        """
        self._check_count(count)
        is_kept = np.ones(count, dtype=np.bool_)
        is_kept[self.wrong] = False
        if relabeled:
            is_kept[self.indices[self.new_labels != ""]] = True
        kept: list[int] = np.flatnonzero(is_kept).tolist()
        return kept

    def relabel(self, labels: Any, classes: Sequence[str] | None = None) -> NDArray[Any]:
        """Return all labels with the new ones in place of the wrong ones, shape (N,).

        Arguments:
            labels: the labels of all samples as they are now, shape (N,).
            classes: the names of classes by number, such as `train_set.classes`, if the labels
                are numbers and the page showed names.

        Raises:
            ValueError: `labels` are not those that were judged, or a new label is no class.
        """
        known = as_labels(labels)
        self._check_count(known.size)
        texts = np.array(
            [label_text(known[index], classes) for index in self.indices.tolist()], dtype=np.str_
        )
        other = np.flatnonzero((self.labels != "") & (texts != self.labels))
        if other.size > 0:
            first = int(other[0])
            raise ValueError(
                f"labels must be those that were judged, but {other.size:,} of {len(self):,} are "
                f"others: sample {self.indices[first]} was {str(self.labels[first])!r} on the "
                f"page, and is {str(texts[first])!r} here. Give the labels of the dataset that "
                "the page shows, and, if they are numbers, the names of classes"
            )
        values = _values_by_text(known, classes)
        changed = known.tolist()
        for index, text in zip(self.indices.tolist(), self.new_labels.tolist(), strict=True):
            if text != "":
                changed[index] = _value_of(text, values, index)
        return np.array(changed, dtype=None if known.dtype.kind == "U" else known.dtype)

    def columns(self, count: int) -> dict[str, NDArray[np.str_]]:
        """Return `verdict` and `new_label` of all samples as texts, shape (N,), empty for others.

        Arguments:
            count: N.

        Raises:
            TypeError: `count` is no integer.
            ValueError: a verdict is on a sample that is not among so many.
        """
        self._check_count(count)
        found = {
            "verdict": np.zeros(count, "U5"),
            "new_label": np.zeros(count, self.new_labels.dtype),
        }
        found["verdict"][self.indices] = np.where(self.are_wrong, "wrong", "right")
        found["new_label"][self.indices] = self.new_labels
        return found

    def _check_count(self, count: int) -> None:
        check_integer("count", count, minimum=0)
        if len(self) > 0 and (last := int(self.indices.max())) >= count:
            raise ValueError(
                f"the verdicts are on samples of a dataset with at least {last + 1:,}, but this "
                f"one has {count:,}: give the dataset that the page shows"
            )


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
        ValueError: it is no such table; a verdict is none of the three; a sample occurs twice, or
            is not among `ids`.
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


def _values_by_text(labels: NDArray[Any], classes: Sequence[str] | None) -> dict[str, Any]:
    """Return the label that each text stands for; `None` where it is ambiguous."""
    values = list(range(len(classes))) if classes is not None and labels.dtype.kind in "iu" else []
    found: dict[str, Any] = {}
    for value in dict.fromkeys([*values, *np.unique(labels).tolist()]):
        text = label_text(value, classes)
        found[text] = None if text in found else value
    return found


def _value_of(text: str, values: Mapping[str, Any], index: int) -> Any:
    value = values.get(text)
    if value is None:
        cause = "several classes have this name" if text in values else "no class has this name"
        raise ValueError(
            f"sample {index} has the new label {text!r}, but {cause}: give the names of all "
            "classes by number, such as classes=train_set.classes"
        )
    return value
