"""Starting the recording of a run, and finding it again."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...utils.settings import plain
from ...utils.validation import check_between
from .recorder import Recorder

if TYPE_CHECKING:
    from ...pruned_dataset import PrunedDataset


def start_recording(
    train: PrunedDataset,
    directory: str | os.PathLike[str],
    optimizer: Any,
    max_megabytes: float,
    *,
    overwrite: bool,
) -> None:
    """Start to record a run, and stop a previous recording; see `PrunedDataset.record`."""
    limit = check_between("max_megabytes", max_megabytes, 0, math.inf)
    if optimizer is not None and not hasattr(optimizer, "param_groups"):
        raise TypeError(
            f"optimizer must be a torch optimizer, but a {type(optimizer).__name__} was given"
        )
    if not isinstance(overwrite, bool):
        raise TypeError(
            f"overwrite must be True or False, but a {type(overwrite).__name__} was given"
        )
    epochs, path = train.epochs, Path(directory) / _folder_of(train)
    before = recorder_of(train)
    continues = before is not None and before.has_written and before.directory == path
    recorder = Recorder(
        path,
        _facts_of(train),
        round(limit * 2**20),
        optimizer,
        is_fresh=lambda: not (epochs.was_restored or continues),
        overwrite=overwrite,
    )
    with epochs.lock:
        if before is not None:
            epochs.callbacks.remove(before)
        train.add_callback(recorder)


def recorder_of(train: PrunedDataset) -> Recorder | None:
    """Return the recorder of a run, if it has one."""
    found = (each for each in train.epochs.callbacks.all if isinstance(each, Recorder))
    return next(found, None)


def recorded_directory(train: PrunedDataset) -> Path:
    """Return the folder of a run's recording.

    Raises:
        RuntimeError: the run is not recorded, or no epoch has ended yet.
    """
    recorder = recorder_of(train)
    if recorder is None:
        raise RuntimeError(
            "report() needs a recording, but nothing was recorded: call train.record(directory) "
            "before the first epoch"
        )
    if not recorder.has_written and train.epochs.number == 0:
        raise RuntimeError(
            "report() needs a recorded epoch, but no epoch has ended yet: call it after one, or "
            "call end_epoch() first if you left the epoch early"
        )
    return recorder.directory


def _folder_of(train: PrunedDataset) -> str:
    """Return the subfolder of a run: each rank of a sharded dataset has its own."""
    part = train.epochs.source.part
    return f"rank-{part['rank']}" if part else "."


def _facts_of(train: PrunedDataset) -> dict[str, Any]:
    """Return the entries of `run.json`, except the score and the number of samples."""
    facts = {
        "method": type(train).__name__,
        "seed": train.seed,
        "num_epochs": train.num_epochs,
        "dataset": type(train.dataset).__name__,
        "dataset_length": train.epochs.source.num_samples,
    }
    settings = {name: value for name, value in plain(train).items() if name not in facts}
    return {**facts, "settings": settings}
