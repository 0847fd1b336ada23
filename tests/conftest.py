"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from shared import VARIABLE, find_shared_data


@pytest.fixture
def shared_data() -> Path:
    return find_shared_data(os.environ.get(VARIABLE))
