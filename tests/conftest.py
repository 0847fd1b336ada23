"""Fixtures of all tests.

They import what they need only when they are used: the tests in `gpu` run on machines that have no
more than torch and pytest.
"""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from shared import VARIABLE, find_shared_data

if TYPE_CHECKING:
    from bench_commands import Bright

    from dynaprune.tracking.report.drawing import Page

# helpers that compare say what differs, as tests do
pytest.register_assert_rewrite("accelerate_runs", "helpers", "loop_driver")

# --doctest-modules would import each conftest.py as `conftest`, and only one can have the name
collect_ignore_glob = ["conftest.py", "*/conftest.py"]

# tests read what commands print: without colours, and as wide as they ask for
for name in ("COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE"):
    os.environ.pop(name, None)


@pytest.fixture
def shared_data() -> Path:
    return find_shared_data(os.environ.get(VARIABLE))


@pytest.fixture
def small_heap() -> Iterator[None]:
    """Hide what other tests left from the garbage collector, which takes a second for it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium."""
    from browsers import launched

    with launched() as started:
        yield started


@pytest.fixture
def bright() -> Bright:
    """A task of the benchmark that is learned in a few steps."""
    from bench_commands import Bright

    task = Bright()
    task.load(None)
    return task


@pytest.fixture
def drawn_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw pages in this process: to start one takes longer than most of these tests.

    `test_report_apart.py` has those of the process.
    """
    from dynaprune.tracking.report import drawing

    def draw(page: Page) -> bytes:
        drawing.check_libraries()
        return drawing.render(drawing.Page.unpack(io.BytesIO(page.pack())))

    monkeypatch.setattr("dynaprune.tracking.report.page.draw", draw)
