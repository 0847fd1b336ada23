"""What a run writes beside training: recordings, loggers, the report, tables."""

from ..training.callbacks import Callback, EpochResult

__all__ = ["Callback", "EpochResult"]
