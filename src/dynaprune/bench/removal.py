"""A baseline for wrong labels: a second training, without the suspects of the first."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import Subset

from ..methods import NoPrune
from ..methods.trimmed_loss import REFRESH, START, first_trimming_epoch
from ..pruned_dataset import PrunedDataset


def budget_of(share: float, epochs: int, start: float = START) -> float:
    """Return the share of all visits that TrimmedLoss saves if it trims a share of the samples.

    Example:
        >>> from dynaprune.bench.removal import budget_of
        >>> round(budget_of(0.4, epochs=20), 4)
        0.27
    """
    return (1 - first_trimming_epoch(start, epochs) / epochs) * share * (1 - REFRESH)


def removed_share(saving: float, epochs: int) -> float:
    """Return the share of samples that TrimmedLoss trims if it saves a share of all visits.

    Raises:
        ValueError: it would trim all samples or more.
    """
    most = budget_of(1.0, epochs)
    if saving >= most:
        raise ValueError(
            f"a saving of {saving:g} would remove all samples, in {epochs} epochs: it has to be "
            f"below {most:.3g}"
        )
    return saving / most


def first_training(data: Any, epochs: int, seed: int, saving: float) -> PrunedDataset:
    """Return the first training, on all samples, which keeps track of them.

    Raises:
        ValueError: so large a saving would remove all samples.
    """
    removed_share(saving, epochs)
    train = NoPrune(data, epochs, seed=seed)
    train.track_samples()
    return train


def second_training(first: PrunedDataset, data: Any, epochs: int, saving: float) -> PrunedDataset:
    """Return the second training, without as many suspects as TrimmedLoss would trim."""
    suspects = first.suspects(round(removed_share(saving, epochs) * len(data)))
    kept = np.setdiff1d(np.arange(len(data)), suspects.numpy())
    return NoPrune(Subset(data, kept.tolist()), epochs, seed=first.seed)
