"""The files of a recording: a folder with a few of each epoch.

Whoever is sent a recording reads files of somebody else. So each is a regular file, and no memory
is taken for more than there is in it.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...losses.measurements import Measurements

RUN = "run.json"
SAMPLES = "samples.npy"
EPOCHS = "epochs.jsonl"
LOSSES = re.compile(r"epoch-([0-9]{5}|[1-9][0-9]{5,})\.npz")

INT32, INT64, FLOAT32 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.float32)
ARRAYS = {"indices": (INT32, INT64), "sizes": (INT32,), "losses": (FLOAT32,), "steps": (INT32,)}
"""What is in a file of losses, and the types of it."""

REPEATING = ("sizes", "steps")
"""Of these, what is compressed."""

HEADER = 2**14
"""Bytes that the header of an array may take; NumPy reads no longer ones."""

MARK = b"dynaprune recording "
"""How the comment of a file of losses begins; the id of its recording follows."""


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to be read, if it is one: a pipe would wait for somebody to write to it.

    Raises:
        OSError: it is not there, or may not be read.
        RuntimeError: it is no regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    check_regular(path)  # before: opening a device may have an effect
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _not_regular(path)
    return file


def check_regular(path: Path) -> None:
    """Make sure that what is at `path`, if anything, is a regular file.

    Raises:
        RuntimeError: it is something else.
    """
    if path.exists() and not path.is_file():
        raise _not_regular(path)


def check_writable(path: Path) -> None:
    """Make sure that what is written to `path` is written there.

    Raises:
        RuntimeError: there is something that is no regular file, or a link to one elsewhere.
    """
    check_regular(path)
    if path.is_symlink():
        raise RuntimeError(
            f"{path} is a link, and what it points to is not overwritten: remove it, or choose "
            "another directory"
        )


def _not_regular(path: Path) -> RuntimeError:
    return RuntimeError(
        f"{path} is a folder, a pipe or a device, but a recording is made of regular files: remove "
        "it, or choose another directory"
    )


def parse_object(text: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ValueError: the text is none.
    """
    try:
        values = json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError(f"it holds a {type(values).__name__}, and no facts")
    return values


def read_array(file: IO[bytes], size: int, types: Sequence[np.dtype[Any]]) -> NDArray[Any]:
    """Return an array of one dimension that `np.save` has written.

    Arguments:
        file: at the beginning of it.
        size: bytes that there are from here on.
        types: that it may be of.

    Raises:
        ValueError: it is another array, or none, or larger than what there is.
    """
    begin = file.tell()
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"it is of version {version} of NumPy's format, and not (1, 0)")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except (MemoryError, RecursionError) as error:  # parsing what is nested deeply
        raise ValueError("the header of an array cannot be read") from error
    if len(shape) != 1 or dtype not in types:
        raise ValueError(f"an array is of {dtype} and shape {shape}, which no recording has")
    left = size - (file.tell() - begin)
    if not 0 <= shape[0] * dtype.itemsize <= left:
        raise ValueError(f"an array is said to have {shape[0]:,} numbers in {left:,} bytes")
    content = bytearray(file.read(shape[0] * dtype.itemsize))
    return np.frombuffer(content, dtype) if content else np.empty(0, dtype)


def losses_file(directory: Path, number: int) -> Path:
    """Return where the losses of an epoch are written."""
    return directory / f"epoch-{number:05}.npz"


def losses_files(directory: Path) -> dict[int, Path]:
    """Return the files of losses by the number of their epoch, in order."""
    found = {
        int(match[1]): path
        for path in directory.iterdir()
        if (match := LOSSES.fullmatch(path.name)) is not None
    }
    return dict(sorted(found.items()))


def is_name_of_ours(name: str) -> bool:
    """Whether a file of a recording may have this name."""
    return name in (RUN, SAMPLES, EPOCHS) or LOSSES.fullmatch(name) is not None


def pack_losses(file: IO[bytes], batches: Measurements, recording: str) -> None:
    """Write an npz file: 4 bytes an index and a loss; what repeats itself is compressed.

    Arguments:
        file: to write to.
        batches: what is written.
        recording: its id, by which the file is known again.
    """
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
        archive.comment = MARK + recording.encode()
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            compression = zipfile.ZIP_DEFLATED if name in REPEATING else zipfile.ZIP_STORED
            archive.writestr(f"{name}.npy", content.getvalue(), compression)


def recording_of(path: Path) -> str | None:
    """Return the id of the recording that a file of losses is of; `None` if it names none."""
    with (
        suppress(zipfile.BadZipFile, NotImplementedError, ValueError),
        open_regular(path) as file,
        zipfile.ZipFile(file) as archive,
    ):
        if archive.comment.startswith(MARK):
            return archive.comment[len(MARK) :].decode("ascii", "replace")
    return None


def unpack_losses(path: Path) -> Measurements:
    """Read a file of `pack_losses`.

    Raises:
        OSError: it cannot be opened.
        RuntimeError: it is damaged, or no regular file.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            indices, sizes, losses, steps = _unpacked(file, size)
        except (
            EOFError,
            KeyError,
            NotImplementedError,  # of an archive that another program has made
            OSError,
            OverflowError,
            RuntimeError,  # of one with a password
            ValueError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise RuntimeError(
                f"{path}, of {size:,} bytes, cannot be read: it is damaged, or no epoch of a "
                f"recording. Remove it ({error})"
            ) from error
    return Measurements(
        torch.from_numpy(indices),
        torch.from_numpy(sizes.astype(np.int64)),
        torch.from_numpy(losses),
        torch.from_numpy(steps.astype(np.int64)),
    )


def _unpacked(file: IO[bytes], size: int) -> list[NDArray[Any]]:
    """Return the arrays of a file of losses.

    Those that are not compressed take no more than the file; the others have as many numbers as
    there are losses.
    """
    found = {}
    with zipfile.ZipFile(file) as archive:
        allowed = size
        for name in sorted(ARRAYS, key=REPEATING.__contains__):
            member = archive.getinfo(f"{name}.npy")
            is_compressed = member.compress_type != zipfile.ZIP_STORED
            if is_compressed and name not in REPEATING:
                raise ValueError(f"its {name} are compressed, which those of a recording are not")
            if member.file_size > allowed:
                raise ValueError(f"its {name} are said to take {member.file_size:,} bytes")
            content = archive.read(member)
            found[name] = read_array(io.BytesIO(content), len(content), ARRAYS[name])
            if name == "losses":
                allowed = found[name].nbytes + HEADER
    indices, sizes, losses, steps = (found[name] for name in ARRAYS)
    if not (
        sizes.shape == losses.shape == steps.shape
        and indices.size == int(sizes.sum(dtype=np.int64))
        and sizes.min(initial=1) >= 1
        and steps.min(initial=0) >= 0
    ):
        raise ValueError("its arrays do not fit each other")
    return [indices, sizes, losses, steps]
