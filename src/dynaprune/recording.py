"""What a run has measured, written down epoch by epoch."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .batches import Batches
from .checkpoint import whole_file

if TYPE_CHECKING:
    from .scores import Score

RUN = "run.json"
EPOCH = re.compile(r"epoch-(\d{5,})\.npz")
ARRAYS = ("indices", "sizes", "losses", "steps")
SAME = ("method", "score", "seed", "dataset", "dataset_length")
"""What the epochs of one run have in common."""


class Recorder:
    """Writes each epoch that is over to a file of its own, `epoch-00003.npz`.

    Arguments:
        directory: made if it is not there.
        facts: what `run.json` says of the run, besides its score and its number of samples.

    Raises:
        OSError: the directory cannot be made.
    """

    def __init__(self, directory: Path, facts: Mapping[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._facts = facts
        self._has_written = False

    def write(self, number: int, batches: Batches, score: Score) -> None:
        """Write what epoch `number` has measured, and remove later ones, which are to be repeated.

        Raises:
            OSError: a file cannot be written; the message names it.
            RuntimeError: the directory holds the recording of another run.
        """
        from . import __version__

        run = {**self._facts, "score": type(score).__name__, "num_samples": score.num_samples}
        path = self.directory / f"epoch-{number:05}.npz"
        try:
            if not self._has_written:
                self.check_run(run)
            with whole_file(self.directory / RUN) as file:
                file.write(json.dumps({**run, "version": __version__}, indent=2).encode())
            with whole_file(path) as file:
                _pack(file, batches)
            for later, old in _epoch_files(self.directory).items():
                if later > number:
                    old.unlink()
        except OSError as error:
            raise OSError(
                f"epoch {number} cannot be recorded in {path}: {error}. Make room for it or give "
                "train.record() another directory, and go on from the last checkpoint"
            ) from error
        self._has_written = True

    def check_run(self, run: Mapping[str, Any]) -> None:
        """Make sure that epochs which are there already are of the same run.

        Raises:
            RuntimeError: they are not.
        """
        if not (self.directory / RUN).exists():
            return
        before = read_run(self.directory)
        differing = [name for name in SAME if name in run and before.get(name) != run[name]]
        if differing:
            said = ", ".join(
                f"{name} {before.get(name)!r}, not {run[name]!r}" for name in differing
            )
            raise RuntimeError(
                f"{self.directory} holds the recording of another run ({said}): give "
                "train.record() a directory of its own"
            )


def read_recording(directory: str | os.PathLike[str]) -> list[Batches]:
    """Return what `train.record(directory)` has written: the measurements of each epoch, in order.

    The first one need not be epoch 0: a resumed run may have begun to record later. The samples of
    a stream are said by the fingerprints of their keys.

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
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(
            f"there is no recording {directory}: call train.record({str(directory)!r}) before the "
            "first epoch"
        )
    files = _epoch_files(directory)
    if not files:
        raise FileNotFoundError(
            f"the directory {directory} holds no epoch, no file epoch-00000.npz: an epoch is "
            "recorded when it is over. Of a Sharded dataset, give the folder of one rank"
        )
    numbers = list(files)
    missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
    if missing:
        raise RuntimeError(
            f"the recording {directory} has epochs {numbers[0]} to {numbers[-1]}, but not "
            f"{', '.join(map(str, missing))}: bring these files back, or remove those before them"
        )
    return [_unpack(path) for path in files.values()]


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
        raise FileNotFoundError(f"there is no recording in {directory}: it has no {RUN}")
    try:
        run = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RuntimeError(f"{path} is damaged: it is no JSON ({error})") from error
    if not isinstance(run, dict):
        raise RuntimeError(f"{path} is damaged: it holds a {type(run).__name__}, and no facts")
    return run


def _epoch_files(directory: Path) -> dict[int, Path]:
    """Return the files of epochs by number, in order."""
    found = {
        int(match[1]): path
        for path in directory.iterdir()
        if (match := EPOCH.fullmatch(path.name)) is not None
    }
    return dict(sorted(found.items()))


def _pack(file: Any, batches: Batches) -> None:
    """Write an npz file: 4 bytes an index and a loss; what repeats itself is compressed."""
    indices = batches.indices.numpy()
    if indices.size == 0 or (indices.min() >= 0 and indices.max() <= np.iinfo(np.int32).max):
        indices = indices.astype(np.int32, copy=False)
    arrays = {
        "indices": indices,
        "sizes": batches.sizes.numpy().astype(np.int32),
        "losses": batches.losses.numpy().astype(np.float32, copy=False),
        "steps": batches.steps.numpy().astype(np.int32),
    }
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            repeats = name in ("sizes", "steps")
            compression = zipfile.ZIP_DEFLATED if repeats else zipfile.ZIP_STORED
            archive.writestr(f"{name}.npy", content.getvalue(), compression)


def _unpack(path: Path) -> Batches:
    """Read a file of `_pack`.

    Raises:
        RuntimeError: it is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            indices, sizes, losses, steps = (arrays[name] for name in ARRAYS)
        if not (
            sizes.shape == losses.shape == steps.shape == (losses.size,)
            and indices.shape == (int(sizes.sum()),)
        ):
            raise ValueError("its arrays do not fit each other")
    except (
        AttributeError,  # of an .npy file, which is no context
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise RuntimeError(
            f"{path}, of {path.stat().st_size:,} bytes, cannot be read: it is damaged, or no epoch "
            f"of a recording. Remove it and all epochs after it, or all before ({error})"
        ) from error
    return Batches(
        torch.from_numpy(indices),
        torch.from_numpy(sizes.astype(np.int64)),
        torch.from_numpy(losses),
        torch.from_numpy(steps.astype(np.int64)),
    )
