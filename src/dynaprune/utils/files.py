"""Files that a killed job cannot leave half-written."""

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


@contextmanager
def whole_file(path: Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """Open a file to be written, which takes the place of `path` once all of it is there.

    It is written beside the file that it replaces, under a name of its own, and gets the mode of
    that file; of a symbolic link, the file that it points to is replaced. What earlier writers of
    the same file left there when they were killed is removed. A writer locks its file until it is
    done, so nothing is removed that a running process still writes; where the file system has no
    locks, nothing is removed at all.

    Arguments:
        path: of the file.
        sync: whether it is on the disk then, so that it also outlasts a failure of the machine.

    Raises:
        OSError: the file cannot be written, or `path` is a folder or a device.
    """
    target = Path(os.path.realpath(path))
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
    """Return how the names of all files begin that are written to replace `target`."""
    # of one length, so that no name becomes too long for a file system
    return f".dynaprune-{zlib.crc32(os.fsencode(target.name)):08x}-"


def _begin(target: Path) -> tuple[Path, IO[bytes], int | None]:
    """Return the path of a new file beside `target`, the file, and what holds its lock."""
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
    """Lock a file until the returned descriptor is closed; the file itself may be so earlier."""
    if sys.platform == "win32":  # where nobody can remove an open file
        return None
    lock = os.dup(file.fileno())
    with suppress(OSError):  # not every file system has locks
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _remove_leftovers(target: Path) -> None:
    """Remove what earlier writers of `target` have left beside it when they were killed."""
    if sys.platform == "win32":
        return
    ours = re.compile(re.escape(_prefix(target)) + "[0-9a-f]{16}")
    with suppress(OSError):  # a folder that may be written to but not listed
        for name in os.listdir(target.parent):
            if ours.fullmatch(name):
                _remove_unless_locked(target.with_name(name))


def _remove_unless_locked(path: Path) -> None:
    with suppress(OSError):  # it is locked, or gone, or another user's
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Let the new name of a file in a folder outlast a failure of the machine."""
    with suppress(OSError):  # not every system can; the file is whole all the same
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
