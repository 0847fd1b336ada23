"""The mean excess fitted to all visits of a run, compared with a plain solution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from dynaprune.losses.measurements import Measurements
from dynaprune.scores.least_squares import fit_mean_excess
from dynaprune.scores.mean_excess import MeanExcess


def epoch(random, level, size, served=None):
    """Return the measurements of an epoch in slices, whose losses are the means of levels."""
    order = random.permutation(level.size if served is None else served)
    sizes = [len(part) for part in np.array_split(order, -(-order.size // size))]
    means = [
        level[part].mean() + random.normal(0, 0.02)
        for part in np.split(order, np.cumsum(sizes)[:-1])
    ]
    return Measurements(
        torch.from_numpy(order),
        torch.tensor(sizes),
        torch.tensor(means, dtype=torch.float32),
        torch.arange(len(sizes)),
    )


def plainly(epochs, num_samples):
    """Solve the normal equations densely, with the readings of `MeanExcess`."""
    excess = MeanExcess(num_samples)
    rows, targets = [np.eye(num_samples)], [np.zeros(num_samples)]
    for batches in epochs:
        reading = excess.fold(batches)
        start = 0
        for size, mean in zip(batches.sizes.tolist(), reading.means, strict=True):
            weight = np.sqrt(reading.precision * size)
            row = np.zeros(num_samples)
            row[batches.indices[start : start + size]] = weight / size
            rows.append(row[None])
            targets.append([weight * mean])
            start += size
    found, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)
    return found


def test_solves_the_equations():
    random = np.random.default_rng(0)
    level = random.gamma(1.0, size=90)
    # sizes differ, and one epoch serves a part of the samples
    epochs = [epoch(random, level, size) for size in (4, 7, 1)]
    epochs.append(epoch(random, level, 4, served=np.flatnonzero(level > 0.5)))
    assert fit_mean_excess(epochs, 90) == pytest.approx(plainly(epochs, 90), abs=5e-3)


def kept_by_a_run(epochs, num_samples):
    """Return what is folded in one epoch after the other."""
    kept = MeanExcess(num_samples)
    for batches in epochs:
        kept.fold(batches)
    return kept.values


def test_with_losses_of_samples_it_is_what_a_run_keeps():
    random = np.random.default_rng(1)
    level = random.gamma(1.0, size=200)
    epochs = [epoch(random, level, 1) for _ in range(5)]
    assert (fit_mean_excess(epochs, 200) == kept_by_a_run(epochs, 200)).all()


def test_orders_samples_better_than_one_epoch_after_the_other():
    random = np.random.default_rng(2)
    level = random.gamma(1.0, size=2000)
    epochs = [epoch(random, level, 8) for _ in range(12)]

    def order(values):
        return stats.spearmanr(values, level).statistic

    assert order(fit_mean_excess(epochs, 2000)) > order(kept_by_a_run(epochs, 2000)) + 0.02


def test_nothing_is_told_by_no_epoch():
    assert fit_mean_excess([], 3).tolist() == [0.0, 0.0, 0.0]
    assert fit_mean_excess([Measurements.none()], 3).tolist() == [0.0, 0.0, 0.0]
