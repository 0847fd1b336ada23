"""Results of runs: a file of JSON lines that grows by a line a run."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import platform
from dataclasses import asdict, dataclass, fields
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

import torch

from ..utils.versions import versions
from .task import Task

FILE = "results.jsonl"


@dataclass(frozen=True)
class Key:
    """What a run is known by: two runs of one key would be the same.

    Attributes:
        task: the name of the task.
        regime: what was done to its data or its length.
        way: how it was trained.
        budget: the share of all sample visits that was to be saved; 0 where that is not asked for.
        seed: of the run.
        recipe: the fields of the recipe.
    """

    task: str
    regime: str
    way: str
    budget: float
    seed: int
    recipe: dict[str, Any]


class Results:
    """The results in a folder; what is there is not run again.

    Arguments:
        folder: where the file lies, or will.

    Attributes:
        path: of the file.
        lines: a dict a run: the fields of its `Key`, what it came to, versions and machine.

    Raises:
        ValueError: a line of the file is no result.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.lines: list[dict[str, Any]] = []
        self._known: set[str] = set()
        self._is_cut = False  # whether the file ends in the middle of a line
        if not self.path.exists():
            return
        text = self.path.read_text(encoding="utf-8")
        lines = text.splitlines()
        if lines and not text.endswith("\n") and not _is_result(lines[-1]):
            lines.pop()  # a run was killed while it wrote
        self._is_cut = bool(text) and text != "".join(f"{line}\n" for line in lines)
        for number, line in enumerate(lines, start=1):
            try:
                found = json.loads(line)
                self._known.add(_text_of(key_of(found)))
                check_fields(found)
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"line {number} of {self.path} is no result of a run: {line[:80]!r}"
                ) from None
            if found["quality"] is None:
                found["quality"] = math.nan
            self.lines.append(found)

    def __contains__(self, key: Key) -> bool:
        return _text_of(key) in self._known

    def add(self, key: Key, found: dict[str, Any]) -> dict[str, Any]:
        """Append a run's result to the file, and return its line."""
        line = {**asdict(key), **found, "versions": versions()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._is_cut:
            whole = "".join(f"{_written(each)}\n" for each in self.lines)
            self.path.write_text(whole, encoding="utf-8")
            self._is_cut = False
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_written(line) + "\n")
        self.lines.append(line)
        self._known.add(_text_of(key))
        return line


def key_of(line: dict[str, Any]) -> Key:
    """Return the key of a result.

    Raises:
        KeyError: it has none.
    """
    return Key(**{field.name: line[field.name] for field in fields(Key)})


def _written(line: dict[str, Any]) -> str:
    """Return a result as a line of JSON, which has no NaN: null says that a run has diverged."""
    quality = line["quality"] if math.isfinite(line["quality"]) else None
    return json.dumps({**line, "quality": quality}, allow_nan=False)


def check_fields(line: dict[str, Any]) -> None:
    """Check that a result has what tables are made of.

    Raises:
        KeyError: it has not.
    """
    for name in ("quality", "visits", "full_visits", "seconds", "about"):
        line[name]


def _is_result(line: str) -> bool:
    try:
        key_of(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return False
    return True


def _text_of(key: Key) -> str:
    """Return a key as what can be looked up."""
    return json.dumps(asdict(key), sort_keys=True)


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the seconds of a run on a device depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": str(device),
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def source_of(task: type[Task]) -> str:
    """Return a short hash that tells one version of a task from another.

    It is that of the file that the task is in, and of those beside it that this one imports.
    """
    found = inspect.getsourcefile(task)
    assert found is not None
    file = Path(found)
    digest = hashlib.sha256(file.read_bytes())
    for other in _imported_from_beside(file):
        digest.update(other.read_bytes())
    return digest.hexdigest()[:12]


def _imported_from_beside(file: Path) -> list[Path]:
    """Return files in the folder of a file that it imports, or what it imports does."""
    finder = ModuleFinder(path=[str(file.parent)])
    finder.run_script(str(file))  # which reads it, and does not run it
    modules = [module for name, module in finder.modules.items() if name != "__main__"]
    known = {vars(module)["__file__"] for module in modules}
    return sorted(Path(name) for name in known if name is not None)
