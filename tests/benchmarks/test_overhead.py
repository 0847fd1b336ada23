"""The benchmark of a step and a plan."""

from __future__ import annotations

import subprocess
import sys

import pytest
from repository import ROOT


@pytest.mark.long
def test_the_benchmark_of_overhead_runs():
    script = ROOT / "benchmarks" / "performance" / "overhead.py"
    done = subprocess.run(
        [sys.executable, script, "--samples", "1000", "--steps", "10", "--repeats", "1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "step: update, with weights" in done.stdout
