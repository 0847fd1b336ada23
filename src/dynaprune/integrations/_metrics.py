"""The values that frameworks log of a pruned run."""

from __future__ import annotations

from ..pruned_dataset import PrunedDataset


def metrics_of(train: PrunedDataset) -> dict[str, float]:
    """Return the share of visits saved and the mean score, as of the last epoch that has ended.

    This neither reads pending losses nor exchanges losses between ranks.
    """
    return {
        "pruning/share_saved": train.summary().share_saved,
        "pruning/mean_score": float(train.epochs.score.values().mean()),
    }
