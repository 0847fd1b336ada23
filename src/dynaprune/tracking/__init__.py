"""Output of a run besides the model: recordings, loggers, pages, tables, a progress bar.

Recordings and loggers follow training as a `Callback`, and the rest reads it, so training does not
depend on any of it.
"""

from ..training.callbacks import Callback, EpochResult
from .recording import read_recording
from .review import Verdicts, read_verdicts

__all__ = ["Callback", "EpochResult", "Verdicts", "read_recording", "read_verdicts"]
