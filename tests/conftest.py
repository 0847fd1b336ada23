"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from shared import VARIABLE, find_shared_data

# tests read what commands print: without colours, and as wide as they ask for
for name in ("COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE"):
    os.environ.pop(name, None)


@pytest.fixture
def shared_data() -> Path:
    return find_shared_data(os.environ.get(VARIABLE))
