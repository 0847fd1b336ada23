"""The benchmark of whole runs, with sizes that take seconds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from repository import ROOT

SCRIPT = ROOT / "benchmarks" / "performance" / "end_to_end.py"
NUMBER = r"-?\d+\.\d+"
SPREAD = rf"{NUMBER} \({NUMBER} to {NUMBER}\)"

pytestmark = pytest.mark.long


def run(file, *arguments):
    sizes = ("--samples", "200", "--small-samples", "300", "--memory-samples", "300")
    return subprocess.run(
        [sys.executable, str(SCRIPT), *sizes, "--epochs", "4", "--save", str(file), *arguments],
        env={**os.environ, "COLUMNS": "120"},  # no cell is wrapped
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_it_prints_every_setting_and_goes_on_where_it_stopped(tmp_path):
    file = tmp_path / "results" / "end_to_end.json"
    done = run(file, "--repeats", "1")
    assert done.returncode == 0, done.stderr
    settings = ("small", "workers", "typical", "memory", "memory-cnn")
    for setting, epochs in zip(settings, json.loads(file.read_text())["repeats"], strict=True):
        assert setting == epochs
        assert f"{setting}: " in done.stdout
    for row in ("BLS-InfoBatch", "BLS-SeTa", "plain, as few samples"):
        assert len(re.findall(rf"{row} +│ +{NUMBER} │ +{SPREAD} │ +{SPREAD} │", done.stdout)) == 5
    assert len(re.findall(rf"nothing pruned +│ +0.0 │ +{SPREAD} │ +│", done.stdout)) == 5

    first = json.loads(file.read_text())["repeats"]
    for setting, (repeat,) in first.items():
        visits = {name: sum(visits) for name, (_, visits) in repeat.items()}
        everything = 4 * (200 if setting == "typical" else 300)
        assert visits["plain"] == visits["nothing pruned"] == everything
        # the share that was asked for
        assert visits["BLS-InfoBatch"] == visits["plain, as few samples"] == 0.7 * everything
        assert 0 < visits["BLS-SeTa"] < everything

    done = run(file, "--settings", "small", "--repeats", "2")
    assert done.returncode == 0, done.stderr
    second = json.loads(file.read_text())["repeats"]
    assert second["small"][0] == first["small"][0]
    assert len(second["small"]) == 2
    assert second["typical"] == first["typical"]

    done = run(file, "--threads", "2")
    assert done.returncode != 0
    assert "was made with" in done.stderr
