"""Results of many runs, in a file to which each run appends one line; finished runs are kept.

`markdown_table` makes tables of them, and `fill_page` puts these on a page.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1]))  # where pages.py is
from pages import NOTHING as NOTHING
from pages import fill_page as fill_page
from pages import markdown_table as markdown_table

RESULTS = Path(__file__).parents[1] / "results"
"""The folder of the results that the pages in docs/ show."""


class Runs:
    """The runs of a benchmark.

    Arguments:
        path: a file of JSON lines, which is created when the first run has finished.

    Attributes:
        results: the return value of each run, together with its key.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.results: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def do(self, key: dict[str, Any], run: Callable[..., dict[str, Any]], *arguments: Any) -> None:
        """Call `run(*arguments)` unless a run with this key exists, and write its result."""
        if any(key.items() <= result.items() for result in self.results):
            return
        started = time.perf_counter()
        result = {**key, **run(*arguments), "seconds": time.perf_counter() - started}
        result["torch"] = str(torch.__version__)
        self.results.append(result)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(result) + "\n")
        print(key, f"{result['seconds']:.0f} s", flush=True)
