"""Arrays that one process shares with others on the same host, in a single copy."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

VERSIONS_KEPT = 3
"""Versions that are kept: a worker may read a version some time after it was published."""


class SharedArrays:
    """Arrays and plain values that one process publishes and others read, even long-lived workers.

    Each version is a folder of files that readers map into memory, so each array is in memory once
    per host. The folder is in the system's directory for temporary files, and is removed when the
    publishing process exits, unless that process is killed.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._latest: dict[str, Any] = {}  # the arrays of the latest version
        self._owner = (0, 0)  # a copy, in this process or another, needs its own folder
        self.version = 0

    def publish(self, values: dict[str, Any]) -> None:
        """Publish another version.

        Arguments:
            values: arrays, and anything that can be pickled.
        """
        owner = (os.getpid(), id(self))
        if self._folder is None or self._owner != owner:
            self._folder, self._owner = Path(tempfile.mkdtemp(prefix="dynaprune-")), owner
            self._latest, self.version = {}, 0
            weakref.finalize(self, _remove, self._folder, os.getpid())
        folder = self._folder / str(self.version + 1)
        shutil.rmtree(folder, ignore_errors=True)  # left by a failed attempt, such as a full disk
        folder.mkdir()
        plain = {}
        for name, value in values.items():
            path = folder / f"{name}.npy"
            if not isinstance(value, np.ndarray):
                plain[name] = value
            elif self._latest.get(name) is not value:
                np.save(path, value)
            else:  # the array has not changed: link its file
                os.link(self._folder / str(self.version) / path.name, path)
        self._latest = {name: value for name, value in values.items() if name not in plain}
        (folder / "plain").write_bytes(pickle.dumps(plain))
        beside = self._folder / "latest.new"
        beside.write_text(folder.name)
        os.replace(beside, self._folder / "latest")
        self.version += 1
        shutil.rmtree(self._folder / str(self.version - VERSIONS_KEPT), ignore_errors=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_latest": {}}  # readers use the files

    def read(self, *, latest: bool) -> dict[str, Any]:
        """Return what was published.

        Arguments:
            latest: whether to read the latest version rather than the one that was current when
                this object was copied to the reading process.
        """
        assert self._folder is not None, "nothing was published"
        version = (self._folder / "latest").read_text() if latest else str(self.version)
        folder = self._folder / version
        values: dict[str, Any] = pickle.loads((folder / "plain").read_bytes())
        for path in folder.glob("*.npy"):
            is_empty = path.stat().st_size <= 128  # only a header, which cannot be mapped
            values[path.stem] = np.load(path, mmap_mode=None if is_empty else "r")
        return values


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker has a copy of the object, and exits earlier
        shutil.rmtree(folder, ignore_errors=True)
