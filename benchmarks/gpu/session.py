"""What the stages share: the device, the time that is left, and where results are kept."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

import dynaprune

Planned = TypeVar("Planned", bound=Any)


class Results:
    """The results of a stage: a JSON line each, in one file a folder.

    Arguments:
        stage: its name, which is the files' too.
        folders: where results are; what is new goes to the last one.
        context: what all new results have in common.
    """

    def __init__(self, stage: str, folders: Sequence[Path], context: dict[str, Any]) -> None:
        files = [folder / f"{stage}.jsonl" for folder in dict.fromkeys(folders)]
        self._file, self._context = files[-1], context
        self.records: list[dict[str, Any]] = []
        for file in files:
            if file.exists():
                self.records += map(json.loads, file.read_text().splitlines())

    def has(self, **key: Any) -> bool:
        """Return whether there is a result with these values."""
        return any(all(each.get(k) == v for k, v in key.items()) for each in self.records)

    def add(self, record: dict[str, Any]) -> None:
        """Append a result to the file."""
        line = record | self._context
        self.records.append(line)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")


@dataclass
class Session:
    """What a stage works with.

    Attributes:
        device: where it runs.
        toy: whether sizes are the smallest at which every line runs.
        results: those of the stage.
        deadline: on the clock of `time.monotonic`; nothing new begins after it.
        data: the folder that pack.py has made.
    """

    device: torch.device
    toy: bool
    results: Results
    deadline: float
    data: Path

    def left(self) -> float:
        """Return the seconds until the deadline."""
        return self.deadline - time.monotonic()

    def make_missing(
        self,
        plan: Iterable[Planned],
        make: Callable[[Planned], dict[str, Any]],
        size: Callable[[Planned], float],
    ) -> None:
        """Make the runs that have no result yet, as long as the next one will end in time.

        Arguments:
            plan: dataclasses, whose fields are the keys of results.
            make: makes a run and returns its result, with its `seconds`.
            size: how long a run takes, in relation to others.
        """
        longest = 0.0  # seconds a size
        for planned in plan:
            if self.results.has(**asdict(planned)):
                continue
            if self.left() <= 1.1 * longest * size(planned):
                return
            result = make(planned)
            longest = max(longest, result["seconds"] / size(planned))
            self.results.add(result)

    def wait(self) -> None:
        """Wait until the device has done what it was asked for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def context_of(device: torch.device, toy: bool) -> dict[str, Any]:
    """Return the card and the versions that results are of."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "card": card,
        "toy": toy,
        "dynaprune": dynaprune.__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as lines of text, in columns; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
