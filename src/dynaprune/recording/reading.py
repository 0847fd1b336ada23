"""What `train.record` has written, read again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..batches import Batches
from .epoch import RecordedEpoch
from .files import EPOCHS, RUN, SAMPLES, losses_files, unpack_losses


@dataclass(frozen=True)
class RecordedSamples:
    """What the last recorded epoch has left of each sample.

    Attributes:
        scores: float32, shape (N,).
        visits: how often each was served with a finite loss: int32, shape (N,).
        epochs: in how many epochs these were counted.
        keys: of a stream, the fingerprints of the samples' keys: int64, shape (N,).
    """

    scores: NDArray[np.float32]
    visits: NDArray[np.int32]
    epochs: int
    keys: NDArray[np.int64] | None


def read_recording(directory: str | os.PathLike[str]) -> list[Batches]:
    """Return what `train.record(directory)` has written: the measurements of each epoch, in order.

    The first one need not be epoch 0: a resumed run may have begun to record later, and what is
    more than the recording may take is removed. The samples of a stream are said by the
    fingerprints of their keys.

    Arguments:
        directory: of the recording.

    Raises:
        FileNotFoundError: there is no such directory, or no epoch in it.
        RuntimeError: a file is damaged, or an epoch is missing between others.

    Example:
        >>> import tempfile, torch
        >>> from dynaprune import NoPrune, read_recording
        >>> train, folder = NoPrune(range(4), num_epochs=1), tempfile.mkdtemp()
        >>> train.record(folder)
        >>> _ = train.begin_epoch()
        >>> _ = train.update(torch.tensor(0.5), indices=torch.tensor([2, 0, 3, 1]))
        >>> train.end_epoch()
        >>> read_recording(folder)[0].losses
        tensor([0.5000])
    """
    directory = _existing(Path(directory))
    files = losses_files(directory)
    _check_numbers(directory, list(files))
    return [unpack_losses(path) for path in files.values()]


def read_epochs(directory: str | os.PathLike[str]) -> list[RecordedEpoch]:
    """Return what a recording says of each epoch, in order; some may not have been recorded.

    Raises:
        FileNotFoundError: there is no such directory, or no epoch in it.
        RuntimeError: the file is damaged.
    """
    directory = _existing(Path(directory))
    epochs = []
    for _, line in epoch_lines(directory):
        try:
            epochs.append(RecordedEpoch.from_json(json.loads(line)))
        except TypeError as error:
            raise RuntimeError(
                f"{directory / EPOCHS} is damaged: a line is of no epoch ({error})"
            ) from error
    if not epochs:
        _check_numbers(directory, [])
    return epochs


def read_samples(directory: str | os.PathLike[str]) -> RecordedSamples:
    """Return the scores and visits of all samples after the last recorded epoch.

    Raises:
        FileNotFoundError: there is no recording, or no epoch in it.
        RuntimeError: the file is damaged.
    """
    path = Path(directory) / SAMPLES
    if not path.is_file():
        raise FileNotFoundError(f"there is no recording in {directory}: it has no {SAMPLES}")
    try:
        with path.open("rb") as file:
            records = np.load(file)
        scores, visits = records["score"].copy(), records["visits"].copy()
        keys = records["key"].copy() if "key" in records.dtype.names else None
    except (EOFError, IndexError, KeyError, OSError, TypeError, ValueError) as error:
        raise RuntimeError(f"{path} is damaged ({error})") from error
    return RecordedSamples(scores, visits, read_epochs(directory)[-1].counted_epochs, keys)


def read_run(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `run.json` says of a recorded run.

    Its method, score, number of samples and of epochs, seed, and the version of dynaprune.

    Raises:
        FileNotFoundError: there is no recording.
        RuntimeError: the file is damaged.

    Example:
        >>> import tempfile, torch
        >>> from dynaprune import NoPrune
        >>> from dynaprune.recording import read_run
        >>> train, folder = NoPrune(range(4), num_epochs=1), tempfile.mkdtemp()
        >>> train.record(folder)
        >>> _ = train.begin_epoch()
        >>> _ = train.update(torch.tensor(0.5), indices=torch.arange(4))
        >>> train.end_epoch()
        >>> read_run(folder)["method"]
        'NoPrune'
    """
    path = Path(directory) / RUN
    if not path.is_file():
        parts = sorted(each.parent.name for each in Path(directory).glob(f"*/{RUN}"))
        hint = f"; there are some in its folders {', '.join(parts)}" if parts else ""
        raise FileNotFoundError(
            f"there is no recording in {directory}: it has no {RUN}, which is written when an "
            f"epoch is over{hint}"
        )
    return _read_json(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RuntimeError(f"{path} is damaged: it is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise RuntimeError(f"{path} is damaged: it holds a {type(values).__name__}, and no facts")
    return values


def epoch_lines(directory: Path) -> list[tuple[int, str]]:
    """Return the lines of a recording's epochs, each with its number.

    Raises:
        RuntimeError: one is damaged, but for the last, which a killed process may have left so.
    """
    path = directory / EPOCHS
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    found = []
    for place, line in enumerate(lines):
        try:
            found.append((int(json.loads(line)["number"]), line))
        except (KeyError, TypeError, ValueError) as error:
            if place < len(lines) - 1:
                raise RuntimeError(f"line {place + 1} of {path} is damaged ({error})") from error
    return found


def _existing(directory: Path) -> Path:
    if not directory.is_dir():
        raise FileNotFoundError(
            f"there is no recording {directory}: call train.record({str(directory)!r}) before the "
            "first epoch"
        )
    return directory


def _check_numbers(directory: Path, numbers: list[int]) -> None:
    """Check that there are epochs, and none is missing between others."""
    if not numbers:
        raise FileNotFoundError(
            f"the directory {directory} holds no epoch, no file epoch-00000.npz: an epoch is "
            "recorded when it is over. Of a Sharded dataset, give the folder of one rank"
        )
    missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
    if missing:
        raise RuntimeError(
            f"the recording {directory} has epochs {numbers[0]} to {numbers[-1]}, but not "
            f"{', '.join(map(str, missing))}: bring these files back, or remove those before them"
        )
