"""How the classes fared: whether one of them is being starved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.labels import classes_of, name_of
from .run import RecordedRun
from .sample_view import failure_of, plain_text

MOST = 100
"""Classes that are shown: those served least."""

STARVED = 0.8
"""A class that is served less often than this share of the average is marked."""


@dataclass(frozen=True)
class ClassRow:
    """How a class fared.

    Attributes:
        name: of the class.
        samples: how many it has.
        served: in which share of the epochs they were served, on average.
        score: their mean score.
        is_starved: whether they were served much less often than others.
    """

    name: str
    samples: int
    served: float
    score: float
    is_starved: bool


def by_class(
    run: RecordedRun, labels: NDArray[Any] | None, names: Sequence[str] | None
) -> list[ClassRow]:
    """Return a row a class, those served least first; none without labels of a few classes."""
    classes = None if labels is None else classes_of(labels)
    if classes is None:
        return []
    kinds, numbers = classes
    counts = np.bincount(numbers)
    served = np.bincount(numbers, weights=run.share_served) / counts
    scores = np.bincount(numbers, weights=run.samples.scores.astype(np.float64)) / counts
    average = float(run.share_served.mean())
    return [
        ClassRow(
            _name_of(kinds[place], names),
            int(counts[place]),
            float(served[place]),
            float(scores[place]),
            bool(served[place] < STARVED * average),
        )
        for place in np.argsort(served, kind="stable")[:MOST]
    ]


def _name_of(kind: Any, names: Sequence[str] | None) -> str:
    try:
        return plain_text(name_of(kind, names))
    except Exception as error:  # of a name that is no text, and cannot be made one
        return failure_of(error)
