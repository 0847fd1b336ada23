"""k-means of numbers: in one dimension the best grouping can be computed, without random starts.

Groups of sorted numbers are intervals, so k-means is a choice of k − 1 cuts, and dynamic
programming finds the best (Wang & Song, Ckmeans.1d.dp, The R Journal 2011). It runs on a few
hundred candidate cuts here, and Lloyd's iterations on the sorted numbers then put the cuts where
they belong to the sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CANDIDATES = 64
"""Candidate cuts of each kind: after equal counts, after equal widths, and towards each end."""

MAX_ITERATIONS = 100


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

    Equal counts resolve where most numbers are and equal widths where few are; ranks that grow
    geometrically from either end resolve heavy tails, of which the inertia is mostly made. No
    candidate lies between equal numbers.
    """
    last = ordered.size - 1
    even = np.linspace(0, last, CANDIDATES)
    tail = np.geomspace(1, ordered.size, CANDIDATES) - 1
    ranks = np.concatenate([even, tail, last - tail]).astype(np.int64)
    by_width = np.linspace(ordered[0], ordered[-1], CANDIDATES, dtype=np.float32)
    positions = np.searchsorted(ordered, np.concatenate([ordered[ranks], by_width]))
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
    count = np.maximum(edges[None, :] - edges[:, None], 1)
    total = sums[None, :] - sums[:, None]
    inertia = (squares[None, :] - squares[:, None]) - total * total / count
    inertia[np.tril_indices(edges.size)] = np.inf  # a group from edge i to edge j wants i < j
    best = inertia[0]
    came_from = []
    for _ in range(num_groups - 1):
        through = best[:, None] + inertia
        came_from.append(np.argmin(through, axis=0))
        best = np.min(through, axis=0)
    path = [edges.size - 1]
    for previous in reversed(came_from):
        path.append(int(previous[path[-1]]))
    path.append(0)
    return edges[path[::-1]]


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
