"""Recordings: the measurements of a run, written to files epoch by epoch, and the readers.

A recording is a folder that may be read while a run writes to it, survives a kill at any point, and
may come from somebody else; so every file is written atomically or by appending, and read with
checks.
"""

from .epoch_record import LEVELS, RecordedEpoch
from .reader import (
    RecordedSamples,
    epoch_numbers,
    gaps_between,
    read_epochs,
    read_recording,
    read_run,
    read_samples,
)
from .recorder import Recorder

__all__ = [
    "LEVELS",
    "RecordedEpoch",
    "RecordedSamples",
    "Recorder",
    "epoch_numbers",
    "gaps_between",
    "read_epochs",
    "read_recording",
    "read_run",
    "read_samples",
]
