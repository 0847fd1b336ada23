"""The samples on the page of suspects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.labels import GIVE_LABELS, check_labels, class_names, classes_of, name_of
from ..report.sample_view import failure_of, label_of, plain_text, show, shown_part
from .ledger import Ledger
from .sounds import playable, sampling_rate_in

SIDE = 320
"""The longer side of a picture, in pixels."""

LETTERS = 4000
"""How many characters of a text are shown."""

TYPICAL = 4
"""How many samples with a typical label are shown of each class."""

MAX_CLASSES = 50
"""If suspects have more classes than this, no typical samples are shown."""


@dataclass(frozen=True)
class Reader:
    """Reads samples of a dataset in a form that a page can show.

    Attributes:
        dataset: the dataset.
        names: the names of classes by number, or `None`.
        view: takes a sample and returns the part to show, or `None`.
        rate: the sampling rate of sounds, or `None`.
    """

    dataset: Any
    names: Sequence[str] | None = None
    view: Callable[[Any], Any] | None = None
    rate: int | None = None

    def read(self, index: int) -> dict[str, str]:
        """Return a sample's kind and content as in `SampleView`, its label, and a sound to play."""
        sample = self.dataset[index]
        kind, content = show(sample, self.view, side=SIDE, letters=LETTERS)
        sound, rate = "", self.rate or sampling_rate_in(sample)
        if kind == "sound" and rate is not None:
            sound = playable(shown_part(sample, self.view)[1], rate)
        label = label_of(sample, self.names)
        return {"kind": kind, "content": content, "label": label, "sound": sound}

    def read_small(self, index: int) -> dict[str, str] | None:
        """Return a sample's kind and content as in `SampleView`, `None` if it cannot be read."""
        try:
            kind, content = show(self.dataset[index], self.view)
        except Exception:  # from the user's dataset
            return None
        return {"kind": kind, "content": content}


@dataclass(frozen=True)
class Labels:
    """The labels of all samples, and the classes that a sample can have.

    Attributes:
        values: shape (N,), or `None` if they are not known.
        names: the names of classes by number, or `None`.
    """

    values: NDArray[Any] | None
    names: Sequence[str] | None

    @classmethod
    def of_dataset(cls, dataset: Any, labels: Any, count: int) -> Labels:
        """Return the given labels, or else those of a dataset, with the names of its classes.

        Raises:
            ValueError: the given labels are not one per sample, `count` in total.
        """
        return cls(check_labels(labels, dataset, count), class_names(dataset))

    def of(self, index: int) -> str | None:
        """Return the label of a sample as text, or `None` if it is not known."""
        return None if self.values is None else label_text(self.values[index], self.names)

    def hint(self) -> str:
        """Return how to make the labels known; empty if they are."""
        if self.values is not None:
            return ""
        return f"The labels are not known. {GIVE_LABELS}train.review(path, labels=labels)."

    def choices(self) -> list[str]:
        """Return the classes as texts, those with names first; none unless labels are classes."""
        found = [label_text(number, self.names) for number in range(len(self.names or ()))]
        classes = None if self.values is None else classes_of(self.values)
        if classes is not None:
            found += [label_text(kind, self.names) for kind in classes[0]]
        return list(dict.fromkeys(found))


def label_text(label: Any, names: Sequence[str] | None) -> str:
    """Return a label as plain text, shortened if it is long."""
    try:
        return plain_text(name_of(label, names))
    except Exception as error:  # raised by names that cannot be converted to text
        return failure_of(error)


def cards_of(
    ledger: Ledger,
    suspects: NDArray[np.int64],
    reader: Reader,
    labels: Labels,
    ids: Sequence[Any] | None,
) -> list[dict[str, Any]]:
    """Return what the page knows of each suspect, one dict each.

    Arguments:
        ledger: what the run knows of all samples.
        suspects: int64, shape (M,): the indices of the suspects.
        reader: reads the samples.
        labels: the labels of all samples.
        ids: the names of all samples, or `None`.
    """
    quality = ledger.label_quality
    cards = []
    for index in suspects.tolist():
        try:
            card: dict[str, Any] = dict(reader.read(index))
        except Exception as error:  # the page still shows the other samples
            card = {"kind": "other", "content": failure_of(error), "label": "", "sound": ""}
        known = labels.of(index)
        card["label"] = card["label"] if known is None else known
        card["index"] = index
        card["id"] = "" if ids is None else str(ids[index])
        card["quality"] = float(quality[index])
        card["visits"] = int(ledger.visits[index])
        cards.append(card)
    return cards


def typical_samples(
    ledger: Ledger, suspects: NDArray[np.int64], reader: Reader, labels: Labels
) -> dict[str, list[dict[str, str]]]:
    """Return the samples whose labels are most probably right, of each class of a suspect.

    Arguments:
        ledger: what the run knows of all samples.
        suspects: int64, shape (M,): the indices of the suspects, which are left out.
        reader: reads the samples.
        labels: the labels of all samples.
    """
    classes = None if labels.values is None else classes_of(labels.values)
    if classes is None or np.unique(classes[1][suspects]).size > MAX_CLASSES:
        return {}
    kinds, numbers = classes
    is_candidate = ledger.visits > 0  # nothing is known of the others
    is_candidate[suspects] = False
    found = {}
    for place in np.unique(numbers[suspects]).tolist():
        members = np.flatnonzero(is_candidate & (numbers == place))
        best = members[np.argsort(ledger.mean_excess[members], kind="stable")[:TYPICAL]]
        shown = [reader.read_small(index) for index in best.tolist()]
        name = label_text(kinds[place], labels.names)
        found[name] = [each for each in shown if each is not None]
    return found
