"""The pruned dataset that the user's function makes of the training set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...pruned_dataset import PrunedDataset


def check_pruning(pruning: Any) -> None:
    """Check that a Trainer was given a function.

    Raises:
        TypeError: it is something else.
    """
    if not callable(pruning):
        raise TypeError(
            "pruning must be a function of the training set, such as lambda dataset: "
            "BLS(InfoBatch(dataset, num_epochs=3)).proxy(), but it is "
            f"a {type(pruning).__name__}"
        )


def create_pruned(pruning: Callable[[Any], PrunedDataset], dataset: Any) -> PrunedDataset:
    """Return a new pruned dataset of the user's function.

    Raises:
        TypeError: it returned something else, or a pruned stream.
        ValueError: it returned a pruned dataset that was trained on before.
    """
    pruned = pruning(dataset)
    if not isinstance(pruned, PrunedDataset):
        raise TypeError(
            "pruning must return a pruned dataset, such as BLS(InfoBatch(dataset, "
            f"num_epochs=3)).proxy(), but it returned a {type(pruned).__name__}"
        )
    if pruned.is_stream:
        raise TypeError(
            "PrunedTrainer counts its steps by the length of its epochs, which a stream does "
            "not have: give it a map-style dataset, or train a stream with Accelerate, "
            "Lightning or a loop of your own"
        )
    if pruned.progress > 0:
        raise ValueError(
            "pruning must create a new pruned dataset each time it is called, but it returned "
            f"one that has been trained for {pruned.progress:.4g} epochs"
        )
    return pruned
