"""Which losses fall during a run, and which do not: how many labels are probably wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..losses.measurements import PORTION, Measurements
from ..utils.validation import check_count, check_finite, check_keys, check_tensor
from .windows import Numbers

BOUNDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Where groups begin, by the rank of mean excess: the first group is what the others are compared
with, and wrong labels gather in the last ones."""

GROUPS = len(BOUNDS) + 1

STEEP, FLAT = 1.0, 0.4
"""How fast the losses of right samples fall, relative to the first group, on a log scale: at the
lowest ranks and at the highest. Harder samples are learned more slowly. On eight clean CIFAR-10
runs the last three groups have 0.36 to 0.6 at half of a run, and models that memorize more."""

LOW, HIGH = 0.75, 1.0
"""Losses relative to those of the untrained model: below the first, a group counts as learned,
however its losses fall. Right samples near the border of two classes may fall as little as wrong
ones, but not above what the model knew at the start."""

FIRST = 64
"""The number of samples whose losses at the start of the run are taken for the untrained model."""

BEFORE = 8
"""Groups are formed after this part of the run's epochs, 1/8 of them."""

FEWEST = 3
"""Fewest epochs that make a trend."""

UNKNOWN = GROUPS
"""The group of a stream's samples that came after the groups were formed."""

LARGEST_LOSS = 8.0
"""The largest number of samples per loss from which trends are read. From larger batches, mean
excess does not order samples well enough to form groups that differ."""


@dataclass(frozen=True)
class Unlearned:
    """The share of samples whose losses stay high while those of the others fall.

    Attributes:
        share: the estimate, at most 1; negative if high losses fall faster than expected.
        error: its standard error.
    """

    share: float
    error: float


class LossTrends:
    """Compares how the losses of groups of samples fall.

    A model learns right samples, easy ones first; it does not learn wrong labels before it
    memorizes them. So after an eighth of the run, samples are put into eight groups by their mean
    excess, and from then on the mean loss of each group is followed. The members stay, and were
    chosen by earlier losses, so chance makes no trend. On a log scale, the losses of right samples
    fall with those of the easiest group, a little more slowly the harder they are; those of wrong
    ones stay or rise, and are as high as those of an untrained model, or higher. A group with such
    losses and the slope b, where right samples have the slope r, has the share 1 − b/r of wrong
    ones.

    From batches or slices, the mean losses of groups come from least squares: the loss of a batch
    is the mean over its samples.

    Arguments:
        num_epochs: of the run.
    """

    def __init__(self, num_epochs: int) -> None:
        self._before = max(1, math.ceil(num_epochs / BEFORE))
        self._num_epochs = 0  # whole ones
        self._first_loss = 0.0  # of the untrained model
        self._groups: NDArray[np.uint8] | None = None
        self._sums = np.zeros((4, GROUPS))  # of epochs, log losses, products, squared errors

    def add(self, batches: Measurements, mean_excess: NDArray[np.float32]) -> None:
        """Record an epoch that served all samples.

        Arguments:
            batches: its measurements; all losses are finite.
            mean_excess: shape (N,), before the epoch.
        """
        if self._num_epochs == 0:
            self._first_loss = _first_loss(batches)
        if self._groups is None and self._num_epochs >= self._before:
            self._groups = _grouped(mean_excess)
        self._num_epochs += 1
        if self._groups is None or batches.indices.numel() > LARGEST_LOSS * len(batches):
            return
        found = _group_means(batches, self._groups)
        if found is None:
            return
        losses, errors = found
        logs = np.log(losses)
        self._sums += [np.ones(GROUPS), logs, logs * logs[0], (errors / losses) ** 2]

    @property
    def unlearned(self) -> Unlearned | None:
        """The share of samples that are not learned; `None` if it is not known."""
        count = self._sums[0, 0]
        if count < FEWEST or self._groups is None or self._first_loss <= 0:
            return None
        means = self._sums / count
        products = means[2] - means[1] * means[1, 0]
        if products[0] <= 0:  # the easiest losses have not changed
            return None
        expected = STEEP + (FLAT - STEEP) * _ranks()
        levels = np.exp(means[1]) / self._first_loss
        is_high = np.clip((levels - LOW) / (HIGH - LOW), 0, 1)
        wrong = np.clip(1 - products / products[0] / expected, -1, 1) * is_high
        errors = np.sqrt(means[3] / (count * products[0])) / expected * is_high
        members = np.bincount(self._groups, minlength=GROUPS)[:GROUPS]
        sizes = members[1:] / members.sum()
        return Unlearned(float(sizes @ wrong[1:]), math.sqrt(float(sizes**2 @ errors[1:] ** 2)))

    def grow(self, places: NDArray[np.int64], num_samples: int) -> None:
        """Make room for more samples; existing ones move to `places`, shape (N,)."""
        if self._groups is not None:
            grown = np.full(num_samples, UNKNOWN, dtype=np.uint8)
            grown[places] = self._groups
            self._groups = grown

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` restores it."""
        groups = np.zeros(0, dtype=np.uint8) if self._groups is None else self._groups
        return {
            "num_epochs": self._num_epochs,
            "first_loss": self._first_loss,
            "groups": torch.tensor(groups, device="cpu"),
            "sums": torch.tensor(self._sums, device="cpu"),
        }

    def load_state_dict(self, state: Any, num_samples: int) -> None:
        """Restore what `state_dict` returned, for N = `num_samples`.

        Raises:
            RuntimeError: the state is incomplete or damaged, or of another number of samples.
        """
        check_keys(state, ("num_epochs", "first_loss", "groups", "sums"), "the state's trends")
        num_epochs = check_count("trends' num_epochs", state["num_epochs"])
        groups = check_tensor("trends' groups", state["groups"], (None,), torch.uint8).numpy()
        sums = check_tensor("trends' sums", state["sums"], (4, GROUPS), torch.float64).numpy()
        if groups.size not in (0, num_samples) or (groups > UNKNOWN).any():
            raise RuntimeError(
                f"the state is damaged: its trends must have a group from 0 to {UNKNOWN} for each "
                f"of {num_samples:,} samples, or none at all"
            )
        if not np.isfinite(sums).all() or (sums[0] < 0).any() or (sums[3] < 0).any():
            raise RuntimeError(
                "the state is damaged: the sums of its trends must be finite, and those of counts "
                "and squares at least 0"
            )
        self._first_loss = check_finite("trends' first_loss", state["first_loss"])
        self._num_epochs = num_epochs
        self._groups = groups.copy() if groups.size > 0 else None
        self._sums = sums.copy()


def _first_loss(batches: Measurements) -> float:
    """Return the mean loss of about `FIRST` samples at the start of a run."""
    sizes = batches.sizes.numpy()
    count = int(np.searchsorted(np.cumsum(sizes), FIRST)) + 1
    return float(np.average(batches.losses.numpy()[:count], weights=sizes[:count]))


def _ranks() -> Numbers:
    """Return the middle of each group by rank, from 0 for the first to 1 for the highest."""
    edges = np.array([0.0, *BOUNDS, 1.0])
    middles = (edges[1:] + edges[:-1]) / 2
    ranks: Numbers = (middles - middles[0]) / (1 - middles[0])
    return ranks


def _grouped(mean_excess: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the group of each sample, shape (N,)."""
    groups = np.empty(mean_excess.size, dtype=np.uint8)
    order = np.argsort(mean_excess, kind="stable")
    ranks = (np.arange(mean_excess.size) + 0.5) / mean_excess.size
    groups[order] = np.searchsorted(BOUNDS, ranks, side="right")
    return groups


def _group_means(
    batches: Measurements, groups: NDArray[np.uint8]
) -> tuple[Numbers, Numbers] | None:
    """Return the mean loss of each group and its standard error, shape (GROUPS,) each.

    `None` if a mean is not above 0, or there are too few measurements.
    """
    sizes = batches.sizes.numpy()
    columns = GROUPS + 1
    if sizes.size < 2 * columns:
        return None
    # all errors have the same variance: the sum of B losses of variance v has the variance B·v
    targets = batches.losses.numpy().astype(np.float64) * np.sqrt(sizes)
    squares, products = np.zeros((columns, columns)), np.zeros(columns)
    ends = np.cumsum(sizes)
    for start in range(0, sizes.size, PORTION):
        part = slice(start, min(start + PORTION, sizes.size))
        members = batches.indices.numpy()[ends[start] - sizes[start] : ends[part.stop - 1]]
        rows = np.repeat(np.arange(part.stop - start), sizes[part]) * columns
        counts = np.bincount(rows + groups[members], minlength=(part.stop - start) * columns)
        weighted = counts.reshape(-1, columns) / np.sqrt(sizes[part])[:, None]
        squares += weighted.T @ weighted
        products += weighted.T @ targets[part]
    covariance = np.linalg.pinv(squares)
    losses = covariance @ products
    if not (losses[:GROUPS] > 0).all():
        return None
    left = max(0.0, float(targets @ targets - losses @ products)) / (sizes.size - columns)
    return losses[:GROUPS], np.sqrt(np.diag(covariance)[:GROUPS] * left)
