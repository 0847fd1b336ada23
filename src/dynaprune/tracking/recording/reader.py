"""What `train.record` has written, read again."""

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

SAMPLE = np.dtype([("score", FLOAT32), ("visits", INT32)])
"""What is recorded of a sample."""

KEYED_SAMPLE = np.dtype([*SAMPLE.descr, ("key", INT64)])
"""Likewise, of a stream."""

OF_A_RUN = ("method", "score", "seed", "dataset", "num_samples", "version")
"""What every `run.json` says."""

OWN = ("id", "writer")
"""What it says to recorders alone: which recording it is, and who writes to it."""

LONGEST_LINE = 2**20
"""Bytes that an epoch's line may have: some thousands is usual."""

LARGEST_RUN = 2**24
"""Bytes that `run.json` may have: some hundreds is usual."""

MOST_NAMED = 10
"""Gaps, or folders, that are named."""


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


def read_recording(directory: str | os.PathLike[str]) -> list[Measurements]:
    """Return what `train.record(directory)` has written: the measurements of each epoch, in order.

    The first one need not be epoch 0: a resumed run may have begun to record later, and what is
    more than the recording may take is removed. Epochs may also be missing between others, such as
    those that were trained where nothing was recorded: then all that are there are returned, with a
    warning that names the others. `epoch_numbers` says which they are. The samples of a stream are
    said by the fingerprints of their keys.

    Arguments:
        directory: of the recording.

    Raises:
        FileNotFoundError: there is no such directory, or no epoch in it.
        RuntimeError: a file is damaged.

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
    directory = Path(directory)
    files = _losses_in(directory)
    if missing := list(itertools.islice(_gaps(files), MOST_NAMED + 1)):
        more = " and more" if len(missing) > MOST_NAMED else ""
        logger.warning(
            "the recording %s has epochs %d to %d, but not %s%s: what is there is read",
            directory,
            next(iter(files)),
            next(reversed(files)),
            ", ".join(missing[:MOST_NAMED]),
            more,
        )
    return [unpack_losses(path) for path in files.values()]


def epoch_numbers(directory: str | os.PathLike[str]) -> list[int]:
    """Return the numbers of the epochs that `read_recording` returns, in the same order.

    Raises:
        FileNotFoundError: there is no such directory, or no epoch in it.

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


def read_epochs(directory: str | os.PathLike[str]) -> list[RecordedEpoch]:
    """Return what a recording says of each epoch, in order; some may not have been recorded.

    Raises:
        FileNotFoundError: there is no such directory, or no epoch in it.
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
        FileNotFoundError: there is no recording, or no epoch in it.
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
    if counted is None:  # of a version that has not written it here
        counted = read_epochs(directory)[-1].counted_epochs
    keys = records["key"].copy() if records.dtype == KEYED_SAMPLE else None
    return RecordedSamples(records["score"].copy(), records["visits"].copy(), counted, keys)


def read_run(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `run.json` says of a recorded run.

    Its method, score, number of samples and of epochs, seed, and the version of dynaprune.

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
        parts = sorted(itertools.islice(folders, MOST_NAMED))
        hint = f"; there are some in its folders {', '.join(parts)}" if parts else ""
        raise FileNotFoundError(
            f"there is no recording in {directory}: it has no {RUN}, which is written when an "
            f"epoch is over{hint}"
        )
    return {name: value for name, value in read_facts(path).items() if name not in OWN}


def read_facts(path: Path) -> dict[str, Any]:
    """Return all that a `run.json` says.

    Raises:
        OSError: it cannot be opened.
        RuntimeError: it is damaged, or of another program.
    """
    with open_regular(path) as file:
        content = file.read(LARGEST_RUN + 1)
    try:
        if len(content) > LARGEST_RUN:
            raise ValueError(f"it has more than {LARGEST_RUN:,} bytes")
        facts = parse_object(content)
        if missing := [name for name in OF_A_RUN if name not in facts]:
            raise ValueError(f"it says no {', '.join(missing)}")
        settings = facts.get("settings", {})
        if not isinstance(settings, dict):
            raise ValueError(f"its settings are a {type(settings).__name__}")
        for name, value in [*facts.items(), *settings.items()]:
            if value is not settings and not isinstance(value, (str, int, float, type(None))):
                raise ValueError(f"a {type(value).__name__} is said of {name!r:.40}")
    except ValueError as error:
        raise RuntimeError(
            f"{path} is damaged, or not of a recording by dynaprune: {error}"
        ) from error
    return facts


def epoch_lines(directory: Path) -> list[tuple[RecordedEpoch, bytes]]:
    """Return a recording's epochs, each with its line.

    Raises:
        RuntimeError: one is damaged, but for the last, which a killed process may have cut.
    """
    path = directory / EPOCHS
    if not path.exists():
        return []
    found = []
    with open_regular(path) as file:
        lines = iter(lambda: file.readline(LONGEST_LINE), b"")
        for place, line in enumerate(lines, start=1):
            try:
                if len(line) == LONGEST_LINE:
                    raise ValueError(f"it has {LONGEST_LINE:,} bytes or more")
                found.append((RecordedEpoch.from_json(parse_object(line)), line.rstrip()))
            except json.JSONDecodeError as error:
                if line.endswith(b"\n"):
                    raise _damaged_line(place, path, error) from error
            except ValueError as error:
                raise _damaged_line(place, path, error) from error
    return found


def _damaged_line(place: int, path: Path, error: Exception) -> RuntimeError:
    return RuntimeError(f"line {place} of {path} is damaged ({error})")


def _existing(directory: Path) -> Path:
    if not directory.is_dir():
        raise FileNotFoundError(
            f"there is no recording {directory}: call train.record({str(directory)!r}) before the "
            "first epoch"
        )
    return directory


def _losses_in(directory: Path) -> dict[int, Path]:
    """Return the files of losses by their number, in order.

    Raises:
        FileNotFoundError: there are none.
    """
    files = losses_files(_existing(directory))
    if not files:
        raise _no_epoch(directory)
    return files


def _no_epoch(directory: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"the directory {directory} holds no epoch, no file epoch-00000.npz: an epoch is recorded "
        "when it is over. Of a Sharded dataset, give the folder of one rank"
    )


def _gaps(numbers: Iterable[int]) -> Iterator[str]:
    """Yield what is missing between numbers that rise: a number, or the first and the last."""
    for before, after in itertools.pairwise(numbers):
        if after - before == 2:
            yield str(before + 1)
        elif after - before > 2:
            yield f"{before + 1} to {after - 1}"
