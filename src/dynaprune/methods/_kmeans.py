"""k-means of numbers: in one dimension the optimum can be computed, without random starts.

Groups of sorted numbers are intervals, so k-means is a choice of k − 1 cuts, and dynamic
programming finds the best (Wang & Song, Ckmeans.1d.dp, The R Journal 2011). Here it runs on about
a thousand candidate cuts of a histogram, and Lloyd's iterations on the bins then refine the cuts.
With no more distinct numbers than candidates the result is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._histogram import Histogram, histogram

CANDIDATES = 256
"""Candidate cuts of each kind: at equal counts, at equal widths, and towards each end."""

MAX_ITERATIONS = 100

BRANCHES = 8
"""Refinement factor of the edges per round: more trials, but fewer NumPy calls."""

Inertia: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


def kmeans_cuts(numbers: NDArray[np.float32], num_groups: int) -> NDArray[np.float32]:
    """Return the lowest number of each group but the first of a k-means, ascending.

    `np.searchsorted(cuts, numbers, side="right")` is then the group of each number, 0 the lowest.

    Arguments:
        numbers: finite, shape (M,), M ≥ 1.
        num_groups: the number of groups k ≥ 1; there are fewer groups if there are fewer distinct
            numbers.

    Returns:
        Shape (k − 1,), or shorter if there are fewer distinct numbers than groups.
    """
    bins = histogram(numbers)
    candidates = _candidate_cuts(bins)
    num_groups = min(num_groups, candidates.size - 1)
    # differences from the middle avoid cancellation in sums of squares of numbers far from zero
    middle = bins.means[bins.means.size // 2]
    shifted = bins.means - middle
    counts = _before(bins.counts)
    sums = _before(shifted * bins.counts)
    # bins are never cut, so the variance within a bin adds the same inertia to any grouping
    squares = _before(shifted * shifted * bins.counts)
    best = _best_cuts(counts[candidates], sums[candidates], squares[candidates], num_groups)
    cuts = _refine(shifted, counts, sums, candidates[best])
    return bins.lowest(cuts[1:-1])


def _before(values: NDArray[Any]) -> NDArray[Any]:
    """Return the sum of the values before each position, and of all: shape (K + 1,)."""
    return np.concatenate([[0], np.cumsum(values)])


def _candidate_cuts(bins: Histogram) -> NDArray[np.int64]:
    """Return bins before which a group may begin: ascending, from 0 to their number.

    These are all bins if there are few. Otherwise, cuts at equal counts resolve dense regions, cuts
    at equal widths resolve sparse ones, and ranks that grow geometrically from either end resolve
    heavy tails, which make up most of the inertia.
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
    """Return the least inertia up to each edge with one more group, and where that group starts.

    The best start never decreases from one edge to the next, so the starts of every eighth edge
    bound those between them: log₈ C rounds of about 8·C trials, each of them vectorised.

    Arguments:
        best: the least inertia of `groups` groups up to each edge, shape (C,).
        groups: the current number of groups; they end at edge `groups` or later.
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
        high = np.maximum(low, np.minimum(bound, stops - 1))  # bounds may cross by rounding
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
    """Move cuts halfway between their groups' means until they stay there (Lloyd's algorithm)."""
    for _ in range(MAX_ITERATIONS):
        means = np.diff(sums[cuts]) / np.diff(counts[cuts])
        halfway = (means[1:] + means[:-1]) / 2
        moved = np.concatenate([cuts[:1], np.searchsorted(shifted, halfway), cuts[-1:]])
        if np.array_equal(moved, cuts) or (np.diff(moved) == 0).any():
            break
        cuts = moved
    return cuts
