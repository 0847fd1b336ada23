"""The files of a recording, and safe access to them.

A recording may come from somebody else. So only regular files are read, and reading one allocates
no more memory than the file's size justifies.
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
"""The arrays in a file of losses, with their allowed types."""

COMPRESSED = ("sizes", "steps")
"""The arrays that are compressed, because their values repeat."""

MAX_HEADER_BYTES = 2**14
"""The size of the header of an array; NumPy reads no longer ones."""

MARK = b"dynaprune recording "
"""The beginning of the comment in a file of losses; the id of its recording follows."""


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading; opening a pipe would wait for a writer.

    Raises:
        OSError: the file does not exist, or must not be read.
        RuntimeError: the path is not a regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    check_regular(path)  # before opening it, which may have an effect on a device
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _not_regular(path)
    return file


def check_regular(path: Path) -> None:
    """Check that `path` is a regular file or does not exist.

    Raises:
        RuntimeError: it is something else.
    """
    if path.exists() and not path.is_file():
        raise _not_regular(path)


def check_writable(path: Path) -> None:
    """Check that writing to `path` changes no other file.

    Raises:
        RuntimeError: `path` is a link, or is not a regular file.
    """
    check_regular(path)
    if path.is_symlink():
        raise RuntimeError(
            f"{path} is a link, whose target must not be overwritten: remove it, or choose another "
            "directory"
        )


def _not_regular(path: Path) -> RuntimeError:
    return RuntimeError(
        f"{path} is a folder, a pipe or a device, but a recording consists of regular files: "
        "remove it, or choose another directory"
    )


def parse_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: the text is not a JSON object.
    """
    try:
        values = json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError(f"it must hold a JSON object, but it holds a {type(values).__name__}")
    return values


def read_array(file: IO[bytes], size: int, types: Sequence[np.dtype[Any]]) -> NDArray[Any]:
    """Read a one-dimensional array that `np.save` has written.

    Arguments:
        file: a file, positioned at the beginning of the array.
        size: the number of bytes from there to the end of the file.
        types: the allowed types.

    Raises:
        ValueError: it is not an array, not one of a recording, or claims more bytes than there are.
    """
    begin = file.tell()
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"NumPy's format must be version (1, 0), but it is {version}")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except (MemoryError, RecursionError) as error:  # raised for deeply nested headers
        raise ValueError("the header of an array cannot be read") from error
    if len(shape) != 1 or dtype not in types:
        raise ValueError(f"an array has type {dtype} and shape {shape}, which no recording has")
    left = size - (file.tell() - begin)
    if not 0 <= shape[0] * dtype.itemsize <= left:
        raise ValueError(f"an array claims to have {shape[0]:,} numbers in {left:,} bytes")
    content = bytearray(file.read(shape[0] * dtype.itemsize))
    return np.frombuffer(content, dtype) if content else np.empty(0, dtype)


def losses_file(directory: Path, number: int) -> Path:
    """Return the path of the file with the losses of an epoch."""
    return directory / f"epoch-{number:05}.npz"


def losses_files(directory: Path) -> dict[int, Path]:
    """Return the files of losses by the number of their epoch, in ascending order."""
    found = {
        int(match[1]): path
        for path in directory.iterdir()
        if (match := LOSSES.fullmatch(path.name)) is not None
    }
    return dict(sorted(found.items()))


def is_recording_file_name(name: str) -> bool:
    """Whether this is the name of a file of a recording."""
    return name in (RUN, SAMPLES, EPOCHS) or LOSSES.fullmatch(name) is not None


def pack_losses(file: IO[bytes], batches: Measurements, recording: str) -> None:
    """Write an npz file, with 4 bytes per index and per loss.

    Arguments:
        file: the file to write to.
        batches: the measurements of the epoch.
        recording: the id of the recording, which marks the file as one of its own.
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
            compression = zipfile.ZIP_DEFLATED if name in COMPRESSED else zipfile.ZIP_STORED
            archive.writestr(f"{name}.npy", content.getvalue(), compression)


def recording_of(path: Path) -> str | None:
    """Return the id of the recording that wrote a file of losses; `None` if the file has none."""
    with (
        suppress(zipfile.BadZipFile, NotImplementedError, ValueError),
        open_regular(path) as file,
        zipfile.ZipFile(file) as archive,
    ):
        if archive.comment.startswith(MARK):
            return archive.comment[len(MARK) :].decode("ascii", "replace")
    return None


def unpack_losses(path: Path) -> Measurements:
    """Read a file that `pack_losses` has written.

    Raises:
        OSError: it cannot be opened.
        RuntimeError: it is damaged, or is not a regular file.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            indices, sizes, losses, steps = _unpacked(file, size)
        except (
            EOFError,
            KeyError,
            NotImplementedError,  # raised for archives of other programs
            OSError,
            OverflowError,
            RuntimeError,  # raised for archives with a password
            ValueError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise RuntimeError(
                f"{path}, of {size:,} bytes, cannot be read: it is damaged, or is not part of a "
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

    An uncompressed array is no larger than the file. Compressed arrays could claim any size, but
    they have one number per loss; so they are read last, and limited to the size of the losses.
    """
    found = {}
    with zipfile.ZipFile(file) as archive:
        allowed = size
        for name in sorted(ARRAYS, key=COMPRESSED.__contains__):
            member = archive.getinfo(f"{name}.npy")
            is_compressed = member.compress_type != zipfile.ZIP_STORED
            if is_compressed and name not in COMPRESSED:
                raise ValueError(f"its {name} are compressed, but a recording stores them as is")
            if member.file_size > allowed:
                raise ValueError(f"its {name} claim to take {member.file_size:,} bytes")
            content = archive.read(member)
            found[name] = read_array(io.BytesIO(content), len(content), ARRAYS[name])
            if name == "losses":
                allowed = found[name].nbytes + MAX_HEADER_BYTES
    indices, sizes, losses, steps = (found[name] for name in ARRAYS)
    if not (
        sizes.shape == losses.shape == steps.shape
        and indices.size == int(sizes.sum(dtype=np.int64))
        and sizes.min(initial=1) >= 1
        and steps.min(initial=0) >= 0
    ):
        raise ValueError("its arrays have inconsistent lengths or negative values")
    return [indices, sizes, losses, steps]
