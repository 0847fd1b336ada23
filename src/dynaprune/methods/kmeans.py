"""k-means of numbers: in one dimension the best grouping can be computed, without random starts.

Groups of sorted numbers are intervals, so k-means is a choice of k − 1 cuts, and dynamic
programming finds the best (Wang & Song, Ckmeans.1d.dp, The R Journal 2011). It runs on a thousand
candidate cuts here, and Lloyd's iterations on the sorted numbers then put the cuts where they
belong to the sample. With no more distinct numbers than candidates the result is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

CANDIDATES = 256
"""Candidate cuts of each kind: after equal counts, after equal widths, and towards each end."""

MAX_ITERATIONS = 100

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
    ordered = np.sort(numbers)
    edges = _candidate_cuts(ordered)
    num_groups = min(num_groups, edges.size - 1)
    # differences from the middle keep the sums of squares exact for numbers far from zero
    shifted = np.subtract(ordered, ordered[ordered.size // 2], dtype=np.float64)
    sums = np.zeros(ordered.size + 1)
    np.cumsum(shifted, out=sums[1:])
    squares = np.zeros(edges.size)
    np.cumsum(np.add.reduceat(np.square(shifted, out=shifted), edges[:-1]), out=squares[1:])
    cuts = _best_cuts(edges, sums[edges], squares, num_groups)
    return ordered[_refine(ordered, sums, cuts)[1:-1]]


def _candidate_cuts(ordered: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return positions at which sorted numbers may be cut: ascending, from 0 to M.

    All that there are, if they are few. Else: equal counts resolve where most numbers are and
    equal widths where few are; ranks that grow geometrically from either end resolve heavy tails,
    of which the inertia is mostly made. No candidate lies between equal numbers.
    """
    changed = ordered[1:] != ordered[:-1]
    if np.count_nonzero(changed) > 4 * CANDIDATES:
        last = ordered.size - 1
        even = np.linspace(0, last, CANDIDATES)
        tail = np.geomspace(1, ordered.size, CANDIDATES) - 1
        ranks = np.concatenate([even, tail, last - tail]).astype(np.int64)
        by_width = np.linspace(ordered[0], ordered[-1], CANDIDATES, dtype=np.float32)
        positions = np.searchsorted(ordered, np.concatenate([ordered[ranks], by_width]))
    else:
        positions = np.flatnonzero(changed) + 1
    return np.unique(np.concatenate([positions, [0, ordered.size]]))


def _best_cuts(
    edges: NDArray[np.int64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    num_groups: int,
) -> NDArray[np.int64]:
    """Return the positions, from 0 to M, that split the numbers with the least inertia.

    Arguments:
        edges: candidate positions, shape (C,), the first 0 and the last M.
        sums: the sum of the numbers before each edge, shape (C,).
        squares: the sum of their squares before each edge, shape (C,).
        num_groups: the number of groups, below C.
    """

    def inertia(start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
        total = sums[stop] - sums[start]
        return squares[stop] - squares[start] - total * total / (edges[stop] - edges[start])

    every = np.arange(1, edges.size)
    best = np.concatenate([[0.0], inertia(np.zeros_like(every), every)])  # one group up to an edge
    came_from = []
    for groups in range(1, num_groups):
        best, previous = _add_group(best, groups, inertia)
        came_from.append(previous)
    path = [edges.size - 1]
    for previous in reversed(came_from):
        path.append(int(previous[path[-1]]))
    path.append(0)
    return edges[path[::-1]]


def _add_group(
    best: NDArray[np.float64], groups: int, inertia: Inertia
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the least inertia of one group more up to each edge, and where that group starts.

    The best start never falls from one edge to the next, so the starts of every other edge bound
    those between them: log₂ C rounds of about 2·C trials, each of them vectorised.

    Arguments:
        best: the least inertia of `groups` groups up to each edge, shape (C,).
        groups: how many groups there are already; they end at edge `groups` or later.
        inertia: of a group from one edge to another.
    """
    size = best.size
    result = np.full(size, np.inf)
    starts = np.full(size, groups)
    step = 1 << (size - 1).bit_length()
    while step > 1:
        step //= 2
        stops = np.arange(step, size, 2 * step)
        stops = stops[stops > groups]
        if stops.size == 0:
            continue
        above = stops + step
        bound = np.where(above < size, starts[np.minimum(above, size - 1)], size - 1)
        low = starts[stops - step]
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
    ordered: NDArray[np.float32], sums: NDArray[np.float64], cuts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Move the cuts halfway between their groups' means until they rest (Lloyd's iterations)."""
    middle = float(ordered[ordered.size // 2])
    for _ in range(MAX_ITERATIONS):
        means = np.diff(sums[cuts]) / np.diff(cuts) + middle
        halfway = ((means[1:] + means[:-1]) / 2).astype(np.float32)
        moved = np.concatenate([cuts[:1], np.searchsorted(ordered, halfway), cuts[-1:]])
        if np.array_equal(moved, cuts) or (np.diff(moved) == 0).any():
            break
        cuts = moved
    return cuts
