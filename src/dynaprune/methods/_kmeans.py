"""k-means of numbers: in one dimension the best grouping can be computed, without random starts.

Groups of sorted numbers are intervals, so k-means is a choice of k − 1 cuts, and dynamic
programming finds the best (Wang & Song, Ckmeans.1d.dp, The R Journal 2011). It runs on a thousand
candidate cuts of a histogram here, and Lloyd's iterations on its bins then put the cuts where they
belong to the bin. With no more distinct numbers than candidates the result is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._histogram import Histogram, histogram

CANDIDATES = 256
"""Candidate cuts of each kind: after equal counts, after equal widths, and towards each end."""

MAX_ITERATIONS = 100

BRANCHES = 8
"""Edges of a round for each one of the round before: more trials, but fewer calls of NumPy."""

Inertia: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


def kmeans_cuts(numbers: NDArray[np.float32], num_groups: int) -> NDArray[np.float32]:
    """Return the lowest number of each group of a k-means but the first, ascending.

    `np.searchsorted(cuts, numbers, side="right")` is then each number's group, 0 the lowest.

    Arguments:
        numbers: finite, shape (M,), M ≥ 1.
        num_groups: the number of groups k ≥ 1; fewer are made of fewer distinct numbers.

    Returns:
        Shape (k − 1,), or shorter where there are fewer distinct numbers than groups.
    """
    bins = histogram(numbers)
    candidates = _candidate_cuts(bins)
    num_groups = min(num_groups, candidates.size - 1)
    # differences from the middle keep the sums of squares exact for numbers far from zero
    middle = bins.means[bins.means.size // 2]
    shifted = bins.means - middle
    counts = _before(bins.counts)
    sums = _before(shifted * bins.counts)
    # a bin is never cut, so what its numbers differ by is in the inertia of any grouping
    squares = _before(shifted * shifted * bins.counts)
    best = _best_cuts(counts[candidates], sums[candidates], squares[candidates], num_groups)
    cuts = _refine(shifted, counts, sums, candidates[best])
    return bins.lowest(cuts[1:-1])


def _before(values: NDArray[Any]) -> NDArray[Any]:
    """Return the sum of the values before each place, and of all: shape (K + 1,)."""
    return np.concatenate([[0], np.cumsum(values)])


def _candidate_cuts(bins: Histogram) -> NDArray[np.int64]:
    """Return bins before which a group may begin: ascending, from 0 to their number.

    All that there are, if they are few. Else: equal counts resolve where most numbers are and
    equal widths where few are; ranks that grow geometrically from either end resolve heavy tails,
    of which the inertia is mostly made.
    """
    size = bins.counts.size
    if size <= 4 * CANDIDATES:
        return np.arange(size + 1)
    behind = np.cumsum(bins.counts)
    last = int(behind[-1]) - 1
    even = np.linspace(0, last, CANDIDATES)
    tail = np.geomspace(1, last + 1, CANDIDATES) - 1
    ranks = np.concatenate([even, tail, last - tail]).astype(np.int64)
    by_rank = np.searchsorted(behind, ranks, side="right")
    by_width = np.linspace(bins.means[0], bins.means[-1], CANDIDATES)
    return np.unique(np.concatenate([by_rank, np.searchsorted(bins.means, by_width), [0, size]]))


def _best_cuts(
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    num_groups: int,
) -> NDArray[np.int64]:
    """Return the edges, from 0 to C − 1, that split the numbers with the least inertia.

    Arguments:
        counts: the number of numbers before each edge, shape (C,), the first 0 and the last M.
        sums: the sum of the numbers before each edge, shape (C,).
        squares: the sum of their squares before each edge, shape (C,).
        num_groups: the number of groups, below C.
    """

    def inertia(start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
        total = sums[stop] - sums[start]
        return squares[stop] - squares[start] - total * total / (counts[stop] - counts[start])

    every = np.arange(1, counts.size)
    best = np.concatenate([[0.0], inertia(np.zeros_like(every), every)])  # one group up to an edge
    came_from = []
    for groups in range(1, num_groups):
        best, previous = _add_group(best, groups, inertia)
        came_from.append(previous)
    path = [counts.size - 1]
    for previous in reversed(came_from):
        path.append(int(previous[path[-1]]))
    path.append(0)
    return np.array(path[::-1])


def _add_group(
    best: NDArray[np.float64], groups: int, inertia: Inertia
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the least inertia of one group more up to each edge, and where that group starts.

    The best start never falls from one edge to the next, so the starts of every eighth edge bound
    those between them: log₈ C rounds of about 8·C trials, each of them vectorised.

    Arguments:
        best: the least inertia of `groups` groups up to each edge, shape (C,).
        groups: how many groups there are already; they end at edge `groups` or later.
        inertia: of a group from one edge to another.
    """
    size = best.size
    result = np.full(size, np.inf)
    starts = np.full(size, groups)
    step = 1
    while step < size:
        step *= BRANCHES
    while step > 1:
        coarse, step = step, step // BRANCHES
        stops = np.arange(step, size, step)
        stops = stops[(stops % coarse > 0) & (stops > groups)]
        if stops.size == 0:
            continue
        below = stops // coarse * coarse
        above = below + coarse
        bound = np.where(above < size, starts[np.minimum(above, size - 1)], size - 1)
        low = starts[below]
        high = np.maximum(low, np.minimum(bound, stops - 1))  # rounding may cross the bounds
        counts = high - low + 1
        offsets = np.cumsum(counts) - counts
        trial = np.arange(counts.sum()) - np.repeat(offsets - low, counts)
        values = best[trial] + inertia(trial, np.repeat(stops, counts))
        result[stops] = np.minimum.reduceat(values, offsets)
        hits = np.flatnonzero(values == np.repeat(result[stops], counts))
        starts[stops] = trial[hits[np.searchsorted(hits, offsets)]]
    return result, starts


def _refine(
    shifted: NDArray[np.float64],
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
    cuts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Move the cuts halfway between their groups' means until they rest (Lloyd's iterations)."""
    for _ in range(MAX_ITERATIONS):
        means = np.diff(sums[cuts]) / np.diff(counts[cuts])
        halfway = (means[1:] + means[:-1]) / 2
        moved = np.concatenate([cuts[:1], np.searchsorted(shifted, halfway), cuts[-1:]])
        if np.array_equal(moved, cuts) or (np.diff(moved) == 0).any():
            break
        cuts = moved
    return cuts
