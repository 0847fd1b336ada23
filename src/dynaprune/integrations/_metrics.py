"""The values that frameworks log of a pruned run."""

from __future__ import annotations

from ..pruned_dataset import PrunedDataset


def metrics_of(train: PrunedDataset) -> dict[str, float]:
    """Return the share of visits saved and, once an epoch has ended, the mean score.

    This neither ends an epoch nor exchanges losses between ranks.
    """
    metrics = {"pruning/share_saved": train.summary().share_saved}
    if train.epoch > 0:
        metrics["pruning/mean_score"] = float(train.epochs.score.values().mean())
    return metrics
