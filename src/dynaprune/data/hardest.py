"""The hardest samples of each class, where kinds are found that are rare and have no label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .labels import classes_of

TENTH = 0.1
"""The share of a class that counts as its hardest. With right labels, kinds that are rare inside of
a class are there two to four times as often as among all samples (docs/rare-kinds.md)."""


def rank_in_class(
    hardness: NDArray[np.floating], labels: NDArray[np.generic] | None
) -> NDArray[np.int64]:
    """Return the place of each sample among those of its class, 0 for the hardest: shape (N,).

    Equal samples keep their order.

    Arguments:
        hardness: shape (N,): the higher, the harder.
        labels: shape (N,); `None`, or values rather than classes, for all in one class.

    Example:
        >>> import numpy as np
        >>> from dynaprune.data.hardest import rank_in_class
        >>> rank_in_class(np.array([0.1, 0.9, 0.5, 0.7]), np.array([0, 0, 1, 1]))
        array([1, 0, 1, 0])
    """
    return _rank_among(hardness, _numbers(labels, len(hardness)))


def is_hardest(
    hardness: NDArray[np.floating], labels: NDArray[np.generic] | None
) -> NDArray[np.bool_]:
    """Return whether each sample is in the hardest tenth of its class, rounded down: shape (N,).

    Arguments:
        hardness: shape (N,): the higher, the harder.
        labels: shape (N,); `None`, or values rather than classes, for all in one class.
    """
    numbers = _numbers(labels, len(hardness))
    sizes = np.bincount(numbers)[numbers] if len(numbers) else numbers
    # in integers, so that a tenth of 30 is 3 and not 2
    return _rank_among(hardness, numbers) < sizes // round(1 / TENTH)


def _rank_among(hardness: NDArray[np.floating], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    order = np.lexsort((-hardness, numbers))
    firsts = np.concatenate([[0], np.cumsum(np.bincount(numbers))[:-1]])
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order)) - firsts[numbers[order]]
    return ranks


def _numbers(labels: NDArray[np.generic] | None, count: int) -> NDArray[np.int64]:
    classes = None if labels is None else classes_of(labels)
    return np.zeros(count, dtype=np.int64) if classes is None else classes[1]
