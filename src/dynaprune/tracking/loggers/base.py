"""The interface of the objects that `train.log_to` accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable


@runtime_checkable
class Logger(Protocol):
    """Receives the metrics of each epoch when it ends.

    Example:
        >>> import torch
        >>> from dynaprune import DataLoader, NoPrune
        >>> class Printer:
        ...     def log(self, metrics, epoch):
        ...         print(epoch, metrics["pruning/visits"])
        >>> train = NoPrune(range(20), num_epochs=2)
        >>> train.log_to(Printer())
        >>> for batch in DataLoader(train, batch_size=10):
        ...     _ = train.update(batch.float())
        0 20
    """

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Log the metrics of an epoch.

        Arguments:
            metrics: values by name, see `PrunedDataset.log_to`; all are finite.
            epoch: the number of the epoch, from 0.
        """
