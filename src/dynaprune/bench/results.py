"""Results of runs: a file of JSON lines, to which each run appends one line."""

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
    """The identity of a run: two runs with the same key would be the same.

    Attributes:
        task: the name of the task.
        regime: the name of the regime.
        way: the name of the variant.
        budget: the share of all sample visits to save; 0 for variants without a budget.
        seed: the seed of the run.
        recipe: the fields of the recipe.
    """

    task: str
    regime: str
    way: str
    budget: float
    seed: int
    recipe: dict[str, Any]


class Results:
    """The results in a folder; a run whose result exists is not repeated.

    Arguments:
        folder: the folder of the file, which need not exist yet.

    Attributes:
        path: the path of the file.
        lines: one dict per run: the fields of its `Key`, its results, versions and machine.

    Raises:
        ValueError: a line of the file is not a result.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.lines: list[dict[str, Any]] = []
        self._known: set[str] = set()
        self._is_cut = False  # whether the last line is incomplete
        if not self.path.exists():
            return
        text = self.path.read_text(encoding="utf-8")
        lines = text.splitlines()
        if lines and not text.endswith("\n") and not _is_result(lines[-1]):
            lines.pop()  # the process was killed while it wrote
        self._is_cut = bool(text) and text != "".join(f"{line}\n" for line in lines)
        for number, line in enumerate(lines, start=1):
            try:
                found = json.loads(line)
                self._known.add(_text_of(key_of(found)))
                check_fields(found)
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"line {number} of {self.path} is not the result of a run: {line[:80]!r}"
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
            complete = "".join(f"{_to_json(each)}\n" for each in self.lines)
            self.path.write_text(complete, encoding="utf-8")
            self._is_cut = False
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_to_json(line) + "\n")
        self.lines.append(line)
        self._known.add(_text_of(key))
        return line


def key_of(line: dict[str, Any]) -> Key:
    """Return the key of a result.

    Raises:
        KeyError: a field is missing.
    """
    return Key(**{field.name: line[field.name] for field in fields(Key)})


def _to_json(line: dict[str, Any]) -> str:
    """Return a result as JSON, with null for the metric of a diverged run: JSON has no NaN."""
    quality = line["quality"] if math.isfinite(line["quality"]) else None
    return json.dumps({**line, "quality": quality}, allow_nan=False)


def check_fields(line: dict[str, Any]) -> None:
    """Check that a result has the fields that tables need.

    Raises:
        KeyError: a field is missing.
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
    """Return a key as text, which is hashable."""
    return json.dumps(asdict(key), sort_keys=True)


def machine(device: torch.device) -> dict[str, Any]:
    """Return the properties of the machine that determine the speed of a run on a device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": str(device),
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def source_of(task: type[Task]) -> str:
    """Return a short hash that identifies the version of a task's code.

    It covers the task's file, and the files in the same folder that this one imports.
    """
    found = inspect.getsourcefile(task)
    assert found is not None
    file = Path(found)
    digest = hashlib.sha256(file.read_bytes())
    for other in _imported_from_beside(file):
        digest.update(other.read_bytes())
    return digest.hexdigest()[:12]


def _imported_from_beside(file: Path) -> list[Path]:
    """Return the files in a file's folder that it imports, directly or indirectly."""
    finder = ModuleFinder(path=[str(file.parent)])
    finder.run_script(str(file))  # despite its name this only parses the file
    modules = [module for name, module in finder.modules.items() if name != "__main__"]
    known = {vars(module)["__file__"] for module in modules}
    return sorted(Path(name) for name in known if name is not None)
