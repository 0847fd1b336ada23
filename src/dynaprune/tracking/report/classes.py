"""How often each class was served, and the hardest tenth inside of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.hardest import is_hardest
from ...data.labels import classes_of, name_of
from .run import RecordedRun
from .sample_view import failure_of, plain_text

MAX_CLASSES = 100
"""How many classes are shown: those served least."""

RARELY = 0.8
"""A class that is served less than this share of the average is marked."""


@dataclass(frozen=True)
class ClassRow:
    """How often a class was served.

    Attributes:
        name: the name of the class.
        samples: the number of its samples.
        served: the share of the epochs in which a sample was served, averaged over the class.
        score: the mean score of its samples.
        is_starved: whether it was served much less often than the average.
        hardest_served: how often the hardest tenth of the class was served, over how often the rest
            of it was; NaN if that is not known.
    """

    name: str
    samples: int
    served: float
    score: float
    is_starved: bool
    hardest_served: float


def by_class(
    run: RecordedRun, labels: NDArray[Any] | None, names: Sequence[str] | None
) -> list[ClassRow]:
    """Return one row per class, those served least first; empty unless labels are classes."""
    classes = None if labels is None else classes_of(labels)
    if classes is None:
        return []
    kinds, numbers = classes
    counts = np.bincount(numbers)
    served = np.bincount(numbers, weights=run.share_served) / counts
    scores = np.bincount(numbers, weights=run.samples.scores.astype(np.float64)) / counts
    average = float(run.share_served.mean())
    hardest = is_hardest(run.samples.mean_excess, labels)
    moved = served_ratio(run.share_served, hardest, numbers)
    return [
        ClassRow(
            _name_of(kinds[place], names),
            int(counts[place]),
            float(served[place]),
            float(scores[place]),
            bool(served[place] < RARELY * average),
            float(moved[place]),
        )
        for place in np.argsort(served, kind="stable")[:MAX_CLASSES]
    ]


def served_ratio(
    served: NDArray[np.float64], hardest: NDArray[np.bool_], numbers: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return, by class, the mean of the hardest samples over that of the others: shape (K,).

    NaN if a class has no hardest samples, or the others were never served.

    Arguments:
        served: shape (N,): the share of the epochs in which each sample was served.
        hardest: shape (N,): whether it is one of the hardest samples of its class.
        numbers: shape (N,): the number of its class.
    """
    counts = np.bincount(numbers)
    few = np.bincount(numbers, weights=hardest)
    of_few = np.bincount(numbers, weights=served * hardest)
    of_rest = np.bincount(numbers, weights=served * ~hardest)
    known = (few > 0) & (of_rest > 0)
    ratio = np.full(len(counts), np.nan)
    few, rest = few[known], (counts - few)[known]
    ratio[known] = (of_few[known] / few) / (of_rest[known] / rest)
    return ratio


def _name_of(kind: Any, names: Sequence[str] | None) -> str:
    try:
        return plain_text(name_of(kind, names))
    except Exception as error:  # raised by names that cannot be converted to text
        return failure_of(error)
