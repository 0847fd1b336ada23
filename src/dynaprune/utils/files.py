"""Files that are replaced atomically, so that a killed job never leaves a partial file."""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl


def check_folder_of(path: Path) -> None:
    """Check that there is a folder for a file.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}: make it first")


@contextmanager
def whole_file(path: Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces `path` once it is complete.

    It is written next to the file that it replaces, under a unique name, and gets the mode of that
    file; for a symbolic link, the target of the link is replaced. Leftovers of writers of the same
    file that were killed are removed. A writer locks its file until it is done, so no file of a
    running process is removed; on file systems without locks, nothing is removed.

    Arguments:
        path: the file to replace.
        sync: whether to flush it to the disk, so that it survives a crash of the machine.

    Raises:
        FileNotFoundError: there is no folder for it.
        OSError: the file cannot be written, or `path` is a folder or a device.
    """
    target = Path(os.path.realpath(path))
    check_folder_of(target)
    if target.exists() and not target.is_file():
        raise OSError(f"{path} cannot be replaced by a file: it is a folder or a device")
    _remove_leftovers(target)
    beside, file, lock = _begin(target)
    try:
        with file:
            if target.exists():
                with suppress(OSError):  # not every file system has modes
                    beside.chmod(stat.S_IMODE(target.stat().st_mode))
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, target)
        if sync:
            _sync_folder(target.parent)
    finally:
        beside.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def _prefix(target: Path) -> str:
    """Return the prefix of all files that are written to replace `target`."""
    # of fixed length, so that no name becomes too long for a file system
    return f".dynaprune-{zlib.crc32(os.fsencode(target.name)):08x}-"


def _begin(target: Path) -> tuple[Path, IO[bytes], int | None]:
    """Return the path of a new file next to `target`, the file, and the descriptor of its lock."""
    while True:
        beside = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}")
        file = beside.open("x+b")
        lock = _lock(file)
        if beside.exists():
            return beside, file, lock
        # another process has found it before it was locked, and removed it
        file.close()
        if lock is not None:
            os.close(lock)


def _lock(file: IO[bytes]) -> int | None:
    """Lock a file until the returned descriptor is closed; the file may be closed earlier."""
    if sys.platform == "win32":  # an open file cannot be removed there
        return None
    lock = os.dup(file.fileno())
    with suppress(OSError):  # not every file system has locks
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _remove_leftovers(target: Path) -> None:
    """Remove what killed writers of `target` have left next to it."""
    if sys.platform == "win32":
        return
    ours = re.compile(re.escape(_prefix(target)) + "[0-9a-f]{16}")
    with suppress(OSError):  # a folder may be writable but not listable
        for name in os.listdir(target.parent):
            if ours.fullmatch(name):
                _remove_unless_locked(target.with_name(name))


def _remove_unless_locked(path: Path) -> None:
    with suppress(OSError):  # it is locked, removed already, or owned by another user
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make the new name of a file in a folder survive a crash of the machine."""
    with suppress(OSError):  # not every system can do this; the file is complete anyway
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
