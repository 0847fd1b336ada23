"""Output of a run besides the model: recordings, loggers, the report, tables, a progress bar.

All of it follows training as a `Callback`, so training does not depend on it.
"""

from ..training.callbacks import Callback, EpochResult
from .recording import read_recording

__all__ = ["Callback", "EpochResult", "read_recording"]
