"""Checkpoints: files that are whole or not there, and say so when they are damaged."""

from __future__ import annotations

import logging
import os
import pickle
import re
import zlib
from pathlib import Path
from typing import IO, Any

import torch

from ..utils.files import whole_file as whole_file  # recordings and reports write so too

logger = logging.getLogger("dynaprune")

CHUNK = 1 << 20
COMMENT = b"dynaprune crc32 %08x"
WRITTEN = re.compile(rb"dynaprune crc32 ([0-9a-f]{8})")
LENGTH = len(COMMENT % 0)
NO_COMMENT = re.compile(rb"PK\x05\x06.{16}\x00\x00", re.DOTALL)
"""The last record of a zip archive that has no comment: it ends with the length of that."""
NO_COMMENT_LENGTH = 22
ADVICE = re.compile(r"\n|\. (?:Please use|In PyTorch|Re-running)")
"""Where an error of torch goes on with how to load a file without checks."""


def save_checkpoint(path: str | os.PathLike[str], **states: Any) -> None:
    """Write states to a file: all of them, or, if the process is killed meanwhile, none.

    The file is written beside the one it replaces and then renamed, so there is always a whole one.
    It is a file of `torch.save`, which `torch.load(path, weights_only=True)` reads as well, with a
    checksum in the comment of the archive that such a file is.

    Arguments:
        path: of the file; its folder must exist.
        states: what is saved, by name, such as `model=model.state_dict()`; of an object that has a
            `state_dict()`, such as `model=model`, that. All that `load_checkpoint` cannot read,
            such as numbers and arrays of NumPy, is warned of by the logger `dynaprune`.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile, torch
        >>> from dynaprune import NoPrune, load_checkpoint, save_checkpoint
        >>> path = tempfile.mkdtemp() + "/checkpoint.pt"
        >>> train, model = NoPrune(range(10), num_epochs=3), torch.nn.Linear(2, 1)
        >>> save_checkpoint(path, model=model.state_dict(), train=train.state_dict())
        >>> train.load_state_dict(load_checkpoint(path)["train"])
    """
    saved = {
        name: state.state_dict() if hasattr(state, "state_dict") else state
        for name, state in states.items()
    }
    with whole_file(Path(path)) as file:
        torch.save(saved, file)
        if unreadable := _unreadable(file):
            logger.warning(
                "the checkpoint %s holds %s, which load_checkpoint cannot read: save tensors and "
                "plain values, such as float(x) of a number of NumPy",
                path,
                ", ".join(unreadable),
            )
        _write_checksum(file)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the states that `save_checkpoint` has written, on the host: tensors and plain values.

    It reads files of `torch.save` as well, which have no checksum.

    Arguments:
        path: of the file.

    Raises:
        FileNotFoundError: the file does not exist.
        PermissionError: it may not be read.
        RuntimeError: the file is cut short or damaged, or no checkpoint.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    if not path.is_file():  # a pipe would be waited for
        raise RuntimeError(f"{path} is no checkpoint: it is a folder, or no regular file")
    has_checksum = False
    with path.open("rb") as file:
        try:
            has_checksum = _check_whole(file)
            states = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged bytes, taken for instructions, may raise any of them
            cause = (
                "it is as it was written, but holds what weights_only=True does not allow: save "
                "tensors and plain values"
                if has_checksum
                else "it is cut short or damaged, or no checkpoint, such as save_checkpoint "
                "and torch.save write. Go on from an earlier one"
            )
            size, reason = os.fstat(file.fileno()).st_size, _reason(error)
            raise RuntimeError(
                f"the checkpoint {path}, of {size:,} bytes, cannot be read: {cause} ({reason})"
            ) from error
    if not isinstance(states, dict):
        raise RuntimeError(
            f"the checkpoint {path} holds a {type(states).__name__}, but the states of "
            "save_checkpoint are a dictionary"
        )
    return states


def _reason(error: Exception) -> str:
    """Return why torch has not read a file, without its advice to trust the file."""
    reason = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return ADVICE.split(reason, maxsplit=1)[0]


def _unreadable(file: IO[bytes]) -> list[str]:
    """Return the classes and functions in a file of `torch.save` that `weights_only` refuses."""
    file.seek(0)
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except pickle.UnpicklingError as error:  # of modules that it would not even look into
        return [str(error)]


def _write_checksum(file: IO[bytes]) -> None:
    """Give a zip archive a checksum of itself as its comment, with which the file ends."""
    file.seek(-2, os.SEEK_END)
    file.write(LENGTH.to_bytes(2, "little"))
    size = file.tell()
    file.seek(0)
    checksum = _checksum(file, size)
    file.seek(size)
    file.write(COMMENT % checksum)


def _check_whole(file: IO[bytes]) -> bool:
    """Return whether a file has a checksum of itself, and go back to its beginning.

    Raises:
        RuntimeError: it has another one than its content; or it is a zip archive that neither has
            one nor ends as those of `torch.save` do.
    """
    is_zip = file.read(2) == b"PK"
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LENGTH))
    last = file.read()
    file.seek(0)
    written = WRITTEN.fullmatch(last)
    if written is not None:
        if _checksum(file, size - LENGTH) != int(written[1], 16):
            raise RuntimeError("its content does not match its checksum")
    elif is_zip and not NO_COMMENT.fullmatch(last[-NO_COMMENT_LENGTH:]):
        raise RuntimeError("its end is missing or damaged")
    file.seek(0)
    return written is not None


def _checksum(file: IO[bytes], size: int) -> int:
    """Return the checksum of the next `size` bytes of a file."""
    checksum = 0
    while size > 0 and (part := file.read(min(CHUNK, size))):
        checksum = zlib.crc32(part, checksum)
        size -= len(part)
    return checksum
