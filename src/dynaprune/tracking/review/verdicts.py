"""What a person has said of the labels of suspects, and what follows for the dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.labels import as_labels
from ...utils.validation import check_integer
from .cards import label_text


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
