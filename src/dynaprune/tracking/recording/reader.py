"""Reading the recordings that `train.record` writes."""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...losses.measurements import Measurements
from .epoch_record import RecordedEpoch
from .files import (
    EPOCHS,
    FLOAT32,
    INT32,
    INT64,
    RUN,
    SAMPLES,
    losses_files,
    open_regular,
    parse_object,
    read_array,
    unpack_losses,
)

logger = logging.getLogger("dynaprune")

SAMPLE = np.dtype(
    [("score", FLOAT32), ("visits", INT32), ("last_epoch", INT32), ("mean_excess", FLOAT32)]
)
"""The record of a sample."""

KEYED_SAMPLE = np.dtype([*SAMPLE.descr, ("key", INT64)])
"""The record of a stream's sample."""

REQUIRED_FACTS = ("method", "score", "seed", "dataset", "num_samples", "version")
"""The entries that every `run.json` has."""

INTERNAL_FACTS = ("id", "writer")
"""The entries for recorders only: the id of the recording, and that of its current writer."""

MAX_LINE_BYTES = 2**20
"""The size limit for an epoch's line, which usually has a few thousand bytes."""

MAX_RUN_BYTES = 2**24
"""The size limit for `run.json`, which usually has a few hundred bytes."""

MAX_NAMED = 10
"""How many gaps, or folders, a message names."""


@dataclass(frozen=True)
class RecordedSamples:
    """The state of all samples after the last recorded epoch.

    Attributes:
        scores: float32, shape (N,).
        visits: int32, shape (N,): how often each sample was served with a finite loss.
        epochs: the number of epochs in which visits were counted.
        last_epochs: int32, shape (N,): the epoch of the last visit, −1 for never.
        mean_excess: float32, shape (N,): see `PrunedDataset.suspects`.
        keys: int64, shape (N,): the fingerprints of the samples' keys; `None` unless it is a
            stream.
    """

    scores: NDArray[np.float32]
    visits: NDArray[np.int32]
    epochs: int
    last_epochs: NDArray[np.int32]
    mean_excess: NDArray[np.float32]
    keys: NDArray[np.int64] | None


def read_recording(directory: str | os.PathLike[str]) -> list[Measurements]:
    """Return the measurements of each epoch in a recording of `train.record(directory)`, in order.

    The first recorded epoch need not be epoch 0: a resumed run may have started to record later,
    and the oldest losses are deleted above the size limit. Epochs may also be missing in between,
    if they were trained without recording. Then all existing ones are returned, and a warning names
    the missing ones. `epoch_numbers` returns the numbers of those returned. The samples of a
    stream are identified by the fingerprints of their keys.

    Arguments:
        directory: the folder of the recording.

    Raises:
        FileNotFoundError: the folder does not exist, or contains no epoch.
        RuntimeError: a file is damaged.

    Example:
        >>> import tempfile, torch
        >>> from dynaprune import NoPrune
        >>> from dynaprune.tracking import read_recording
        >>> train, folder = NoPrune(range(4), num_epochs=1), tempfile.mkdtemp()
        >>> train.record(folder)
        >>> _ = train.begin_epoch()
        >>> _ = train.update(torch.tensor(0.5), indices=torch.tensor([2, 0, 3, 1]))
        >>> train.end_epoch()
        >>> read_recording(folder)[0].losses
        tensor([0.5000])
    """
    directory = Path(directory)
    files = _losses_in(directory)
    if missing := list(itertools.islice(gaps_between(files), MAX_NAMED + 1)):
        more = " and more" if len(missing) > MAX_NAMED else ""
        logger.warning(
            "the recording %s has epochs %d to %d, but not %s%s: the existing ones are read",
            directory,
            next(iter(files)),
            next(reversed(files)),
            ", ".join(missing[:MAX_NAMED]),
            more,
        )
    return [unpack_losses(path) for path in files.values()]


def epoch_numbers(directory: str | os.PathLike[str]) -> list[int]:
    """Return the numbers of the epochs that `read_recording` returns, in the same order.

    Raises:
        FileNotFoundError: the folder does not exist, or contains no epoch.

    Example:
        >>> import tempfile, torch
        >>> from dynaprune import NoPrune
        >>> from dynaprune.tracking.recording import epoch_numbers
        >>> train, folder = NoPrune(range(4), num_epochs=1), tempfile.mkdtemp()
        >>> train.record(folder)
        >>> _ = train.begin_epoch()
        >>> _ = train.update(torch.tensor(0.5), indices=torch.arange(4))
        >>> train.end_epoch()
        >>> epoch_numbers(folder)
        [0]
    """
    return list(_losses_in(Path(directory)))


def gaps_between(numbers: Iterable[int]) -> Iterator[str]:
    """Yield the gaps between ascending numbers as text: "3" or "5 to 8"."""
    for before, after in itertools.pairwise(numbers):
        if after - before == 2:
            yield str(before + 1)
        elif after - before > 2:
            yield f"{before + 1} to {after - 1}"


def read_epochs(directory: str | os.PathLike[str]) -> list[RecordedEpoch]:
    """Return the summaries of all epochs in a recording, in order; some epochs may be missing.

    Raises:
        FileNotFoundError: the folder does not exist, or contains no epoch.
        RuntimeError: the file is damaged.
    """
    directory = _existing(Path(directory))
    epochs = [epoch for epoch, _ in epoch_lines(directory)]
    if not epochs:
        raise _no_epoch(directory)
    return epochs


def read_samples(directory: str | os.PathLike[str]) -> RecordedSamples:
    """Return the scores and visits of all samples after the last recorded epoch.

    Raises:
        FileNotFoundError: there is no recording, or it contains no epoch.
        RuntimeError: the file is damaged.
    """
    path = Path(directory) / SAMPLES
    if not path.exists():
        raise FileNotFoundError(f"there is no recording in {directory}: it has no {SAMPLES}")
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            records = read_array(file, size, (SAMPLE, KEYED_SAMPLE))
            left = size - file.tell()
            counted = int(read_array(file, left, (INT64,))[-1]) if left else None
        except (EOFError, IndexError, OSError, ValueError) as error:
            raise RuntimeError(f"{path} is damaged ({error})") from error
    if counted is None:  # written by a version that stored it with the epoch only
        counted = read_epochs(directory)[-1].counted_epochs
    keys = records["key"].copy() if records.dtype == KEYED_SAMPLE else None
    names = ("score", "visits", "last_epoch", "mean_excess")
    scores, visits, last_epochs, mean_excess = (records[name].copy() for name in names)
    return RecordedSamples(scores, visits, counted, last_epochs, mean_excess, keys)


def read_run(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the facts about a recorded run in its `run.json`.

    These are its method, score, settings, seed, numbers of samples and epochs, and the version of
    dynaprune.

    Raises:
        FileNotFoundError: there is no recording.
        RuntimeError: the file is damaged.

    Example:
        >>> import tempfile, torch
        >>> from dynaprune import NoPrune
        >>> from dynaprune.tracking.recording import read_run
        >>> train, folder = NoPrune(range(4), num_epochs=1), tempfile.mkdtemp()
        >>> train.record(folder)
        >>> _ = train.begin_epoch()
        >>> _ = train.update(torch.tensor(0.5), indices=torch.arange(4))
        >>> train.end_epoch()
        >>> read_run(folder)["method"]
        'NoPrune'
    """
    path = Path(directory) / RUN
    if not path.exists():
        folders = (each.parent.name for each in Path(directory).glob(f"*/{RUN}"))
        parts = sorted(itertools.islice(folders, MAX_NAMED))
        hint = f"; its folders {', '.join(parts)} contain recordings" if parts else ""
        raise FileNotFoundError(
            f"there is no recording in {directory}: it has no {RUN}, which is written when an "
            f"epoch ends{hint}"
        )
    return {name: value for name, value in read_facts(path).items() if name not in INTERNAL_FACTS}


def read_facts(path: Path) -> dict[str, Any]:
    """Return all entries of a `run.json`.

    Raises:
        OSError: it cannot be opened.
        RuntimeError: it is damaged, or was written by another program.
    """
    with open_regular(path) as file:
        content = file.read(MAX_RUN_BYTES + 1)
    try:
        if len(content) > MAX_RUN_BYTES:
            raise ValueError(f"it has more than {MAX_RUN_BYTES:,} bytes")
        facts = parse_object(content)
        if missing := [name for name in REQUIRED_FACTS if name not in facts]:
            raise ValueError(f"it lacks {', '.join(missing)}")
        settings = facts.get("settings", {})
        if not isinstance(settings, dict):
            raise ValueError(f"its settings are a {type(settings).__name__}")
        for name, value in [*facts.items(), *settings.items()]:
            if value is not settings and not isinstance(value, (str, int, float, type(None))):
                raise ValueError(f"the value of {name!r:.40} is a {type(value).__name__}")
    except ValueError as error:
        raise RuntimeError(
            f"{path} is damaged, or not part of a recording by dynaprune: {error}"
        ) from error
    return facts


def epoch_lines(directory: Path) -> list[tuple[RecordedEpoch, bytes]]:
    """Return the epochs of a recording, each with its line in the file.

    An incomplete last line is ignored: the process may have been killed while it wrote.

    Raises:
        RuntimeError: another line is damaged.
    """
    path = directory / EPOCHS
    if not path.exists():
        return []
    found = []
    with open_regular(path) as file:
        lines = iter(lambda: file.readline(MAX_LINE_BYTES), b"")
        for number, line in enumerate(lines, start=1):
            try:
                if len(line) == MAX_LINE_BYTES:
                    raise ValueError(f"it has {MAX_LINE_BYTES:,} bytes or more")
                found.append((RecordedEpoch.from_json(parse_object(line)), line.rstrip()))
            except json.JSONDecodeError as error:
                if line.endswith(b"\n"):
                    raise _damaged_line(number, path, error) from error
            except ValueError as error:
                raise _damaged_line(number, path, error) from error
    return found


def _damaged_line(number: int, path: Path, error: Exception) -> RuntimeError:
    return RuntimeError(f"line {number} of {path} is damaged ({error})")


def _existing(directory: Path) -> Path:
    if not directory.is_dir():
        raise FileNotFoundError(
            f"there is no recording {directory}: call train.record({str(directory)!r}) before the "
            "first epoch"
        )
    return directory


def _losses_in(directory: Path) -> dict[int, Path]:
    """Return the files of losses by the number of their epoch, in ascending order.

    Raises:
        FileNotFoundError: there are none.
    """
    files = losses_files(_existing(directory))
    if not files:
        raise _no_epoch(directory)
    return files


def _no_epoch(directory: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"the directory {directory} holds no epoch, no file such as epoch-00000.npz: an epoch is "
        "recorded when it ends. For a Sharded dataset, give the folder of one rank"
    )
