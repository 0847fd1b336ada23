"""Passes the metrics of each epoch to a logger."""

from __future__ import annotations

from ...training.callbacks import Callback, EpochResult
from .base import Logger
from .metrics import metrics_of


class LoggerCallback(Callback):
    """Logs each epoch that served any sample.

    Arguments:
        logger: an object with a method `log(metrics, epoch)`.

    Raises:
        TypeError: the logger has no such method.
    """

    def __init__(self, logger: Logger) -> None:
        if isinstance(logger, type) or not callable(getattr(logger, "log", None)):
            raise TypeError(
                f"a logger must be an object with a method log(metrics, epoch), but {logger!r} "
                "was given"
            )
        self._logger = logger

    def on_epoch_end(self, result: EpochResult) -> None:
        """Log the metrics of an epoch."""
        if result.was_served:
            self._logger.log(metrics_of(result), result.number)
