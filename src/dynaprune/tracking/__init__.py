"""Output of a run besides the model: recordings, loggers, the report, tables, a progress bar.

All of it follows training as a `Callback`, so training does not depend on it.
"""

from ..training.callbacks import Callback, EpochResult

__all__ = ["Callback", "EpochResult"]
