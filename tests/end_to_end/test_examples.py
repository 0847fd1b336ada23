"""The scripts in `examples/`, each as its first lines say, with what they say it needs."""

from __future__ import annotations

import re
import sys

import pytest
from packages import python_with, run_python
from PIL import Image
from repository import ROOT

EXAMPLES = ROOT / "examples"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

pytestmark = pytest.mark.long

ON_NEW_PYTHON = pytest.mark.skipif(sys.version_info < (3, 11), reason="TRL needs Python 3.11")

ABORTED = "terminate called without an active exception"
"""What a process prints that has done its work and is aborted as it exits.

DistributedDataParallel keeps the process group after `destroy_process_group`, and a thread of gloo
that then waits for the interpreter is ended with the process: pytorch/pytorch#179291. It happens in
about one of a hundred runs.
"""


def run(folder, name, *arguments, ranks=1):
    """Run an example with nothing but the extras it says it needs, and return what it printed."""
    script, environment = EXAMPLES / f"{name}.py", folder / "venv"
    python = environment / "bin" / "python"
    if not environment.exists():
        (extras,) = re.findall(r"pip install '\.\[(.*?)\]'", script.read_text())
        python_with(extras.split(","), environment)
    launcher = TORCHRUN if ranks > 1 else ()
    for _ in range(3):
        done = run_python(python, *launcher, script, *arguments, cwd=folder)
        has_trained = "accuracy" in done.stdout
        if not (ranks > 1 and has_trained and ABORTED in done.stderr):
            break
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(output, epochs, lowest=0.5):
    """The example has trained `epochs` epochs, saved visits and learned something."""
    accuracy, trained, saved = re.search(
        r"test accuracy ([\d.]+)%; (\d+) epochs, .* \(([\d.]+)% saved\)", output
    ).groups()
    assert float(accuracy) / 100 > lowest
    assert int(trained) == epochs
    assert float(saved) > 5


@pytest.mark.parametrize(
    ("name", "ranks", "arguments"),
    [
        ("train_plain", 1, ()),
        ("train_ddp", 2, ()),
        ("train_accelerate", 1, ()),
        ("train_accelerate", 2, ()),
        ("train_lightning", 1, ()),
        ("train_lightning", 2, ("--devices", "2")),
        ("train_stream", 1, ()),
        ("train_trainer", 1, ()),
        ("train_trainer", 2, ()),
        pytest.param("train_trl", 1, (), marks=ON_NEW_PYTHON),
        ("train_embeddings", 1, ()),
        ("train_embeddings", 2, ()),
    ],
)
def test_example(name, ranks, arguments, tmp_path):
    epochs = 10 if name == "train_trainer" else 6
    output = run(tmp_path, name, "--epochs", str(epochs), *arguments, ranks=ranks)
    check(output, epochs)
    assert output.count("test accuracy") == 1


def test_the_plain_example_goes_on(tmp_path):
    run(tmp_path, "train_plain", "--epochs", "6")
    assert "going on at epoch" in run(tmp_path, "train_plain", "--epochs", "6")


def test_the_ddp_example_goes_on_with_another_number_of_ranks(tmp_path):
    run(tmp_path, "train_ddp", "--epochs", "6", ranks=2)
    output = run(tmp_path, "train_ddp", "--epochs", "6", ranks=2)
    assert "rank 1: going on at epoch" in output


@pytest.mark.parametrize(
    ("name", "points", "worst", "unit"),
    [
        # at first, an image of one colour is off by 8 dB, and a constant distance by 0
        ("fit_image", 128 * 128, 15, r"([\d.]+) dB"),
        ("fit_shape", 16_384, 8, r"([\d.]+) dB"),
        # a solution of 0 everywhere is off by 1
        ("solve_burgers", 4096, 0.9, r"relative error ([\d.e+-]+)"),
    ],
)
def test_fit(name, points, worst, unit, tmp_path):
    output = run(tmp_path, name, "--epochs", "8", "--folder", tmp_path)
    found = re.findall(rf"^(.+): {unit} with ([\d,]+) visits$", output, flags=re.MULTILINE)
    if name == "fit_image":
        way, quality, visits = found.pop(0)
        assert (way, visits) == ("full training", f"{8 * points:,}")
        assert float(quality) > worst
    ways = ["fewer epochs", *(way for way, _, _ in found if way.startswith("random "))]
    assert [way for way, _, _ in found] == [*ways, "InfoBatch", "LossProportional"]
    assert len(ways) == 2
    assert {int(visits.replace(",", "")) for _, _, visits in found} == {4 * points}
    for _, quality, _ in found:
        assert float(quality) < worst if worst < 1 else float(quality) > worst
    with Image.open(tmp_path / f"{name}.png") as picture:
        assert picture.width > picture.height > 200


def test_wrong_labels_are_found(tmp_path):
    output = run(tmp_path, "find_wrong_labels")
    found = re.search(r"(\d+)% of the \d+ suspects have a wrong label", output).group(1)
    before, after = map(float, re.findall(r"([\d.]+)% (?:with all|without)", output))
    assert int(found) > 90
    assert after > before + 3
    assert (tmp_path / "wrong-labels" / "suspects.html").exists()
    with Image.open(tmp_path / "wrong-labels" / "suspects.png") as picture:
        assert picture.width > picture.height > 200


def test_every_example_is_run_and_named_in_the_readme():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    loops = ("plain", "ddp", "accelerate", "lightning", "stream", "trainer", "trl", "embeddings")
    others = ("find_wrong_labels", "fit_image", "fit_shape", "solve_burgers")
    in_vision = {"train_timm.py", "train_ultralytics.py"}  # run by tests/vision, beside torchvision
    names -= in_vision
    assert names == {*(f"train_{name}.py" for name in loops), *(f"{name}.py" for name in others)}
    readme = (EXAMPLES.parent / "README.md").read_text()
    assert all(f"examples/{name}" in readme for name in names | in_vision)
