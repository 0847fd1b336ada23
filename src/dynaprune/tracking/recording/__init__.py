"""What a run has measured, written down epoch by epoch, and read again."""

from .epoch_record import LEVELS, RecordedEpoch
from .reader import (
    RecordedSamples,
    epoch_numbers,
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
    "read_epochs",
    "read_recording",
    "read_run",
    "read_samples",
]
