"""What the tests of the benchmarks share."""

from __future__ import annotations

import importlib

import pytest
from repository import ROOT


@pytest.fixture
def evidence(monkeypatch):
    """Return what imports a file of the evidence."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "evidence"))
    return importlib.import_module


@pytest.fixture
def study(monkeypatch):
    """Return what imports a file of the studies."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "studies"))
    return importlib.import_module
