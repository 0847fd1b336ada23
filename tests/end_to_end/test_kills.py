"""Training processes that are killed at random points, and resumed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from repository import ROOT


@pytest.mark.long
@pytest.mark.parametrize(
    ("world_size", "kind"), [(1, ""), (2, ""), (1, "--stream"), (2, "--stream")]
)
def test_killed_twenty_times(world_size, kind, tmp_path):
    """With two workers a rank: batches, scores and weights are those of an undisturbed run."""
    script = ROOT / "tests" / "support" / "kills.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path, str(world_size), "20", kind],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["kills"] == 20
    assert report["in the middle"] >= 10
    assert report["steps repeated"] > 0
    assert report["batches"]
    assert report["scores"]
    assert report["weights"]
