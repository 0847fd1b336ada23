"""Where the data sets are that are too large for a clone."""

from __future__ import annotations

from pathlib import Path

import pytest
from repository import ROOT

VARIABLE = "DYNAPRUNE_SHARED_DATA"
BESIDE_THE_CLONE = ROOT.parent / "shared" / "data"


def find_shared_data(given: str | None, default: Path = BESIDE_THE_CLONE) -> Path:
    """Return the folder that was given or else the default, or skip the test without a folder."""
    folder = Path(given) if given else default
    if folder.is_dir():
        return folder
    if given:
        pytest.fail(f"{VARIABLE} must name a folder, but there is no folder {given}")
    pytest.skip(
        "needs data sets that are not part of a clone (docs/bench.md lists them): there is no "
        f"folder {folder}; set {VARIABLE} to one that holds them"
    )
