"""What a process tells others on the same host, in one copy for all of them."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

KEPT = 3
"""Issues that are kept: a loader's workers may begin to read a while after they were told to."""


class Bulletin:
    """Arrays and plain values that one process issues and others read, workers that live on too.

    Each issue is a folder of files, which every reader maps into its memory: so an array is there
    once on a host, however many read it. It lies where the system keeps temporary files, and is
    removed with the process that has issued it, unless that is killed.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._latest: dict[str, Any] = {}  # what the latest issue holds
        self._owner = (0, 0)  # a copy, in this process or another, has a folder of its own
        self.issue = 0

    def publish(self, values: dict[str, Any]) -> None:
        """Make another issue.

        Arguments:
            values: arrays, and what can be pickled.
        """
        owner = (os.getpid(), id(self))
        if self._folder is None or self._owner != owner:
            self._folder, self._owner = Path(tempfile.mkdtemp(prefix="dynaprune-")), owner
            self._latest, self.issue = {}, 0
            weakref.finalize(self, _remove, self._folder, os.getpid())
        folder = self._folder / str(self.issue + 1)
        shutil.rmtree(folder, ignore_errors=True)  # of a time when the disk was full
        folder.mkdir()
        plain = {}
        for name, value in values.items():
            path = folder / f"{name}.npy"
            if not isinstance(value, np.ndarray):
                plain[name] = value
            elif self._latest.get(name) is not value:
                np.save(path, value)
            else:  # the same array again: the file has another name
                os.link(self._folder / str(self.issue) / path.name, path)
        self._latest = {name: value for name, value in values.items() if name not in plain}
        (folder / "plain").write_bytes(pickle.dumps(plain))
        beside = self._folder / "latest.new"
        beside.write_text(folder.name)
        os.replace(beside, self._folder / "latest")
        self.issue += 1
        shutil.rmtree(self._folder / str(self.issue - KEPT), ignore_errors=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_latest": {}}  # who reads has the files

    def read(self, *, latest: bool) -> dict[str, Any]:
        """Return what was published.

        Arguments:
            latest: whether to look for the latest issue, and not for that of when this object was
                copied to the process that reads.
        """
        assert self._folder is not None, "nothing was published"
        issue = (self._folder / "latest").read_text() if latest else str(self.issue)
        folder = self._folder / issue
        values: dict[str, Any] = pickle.loads((folder / "plain").read_bytes())
        for path in folder.glob("*.npy"):
            is_empty = path.stat().st_size <= 128  # the header alone, which cannot be mapped
            values[path.stem] = np.load(path, mmap_mode=None if is_empty else "r")
        return values


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker has a copy of the object, and ends earlier
        shutil.rmtree(folder, ignore_errors=True)
