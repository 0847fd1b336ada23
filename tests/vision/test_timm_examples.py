"""timm: the example, and the code in the documentation."""

from __future__ import annotations

import re
import runpy
import sys

import pytest
import timm
import torch
from image_folders import write_tree
from repository import ROOT

# timm's own datasets leave files to be closed by the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture
def images(tmp_path):
    return write_tree(tmp_path / "images", per_class=24)


def test_the_example(images, monkeypatch, capsys):
    script = ROOT / "examples" / "train_timm.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(images), "--epochs", "6"])
    runpy.run_path(str(script), run_name="__main__")
    accuracy, epochs, saved = re.search(
        r"test accuracy ([\d.]+)%; (\d+) epochs, .* \(([\d.]+)% saved\)", capsys.readouterr().out
    ).groups()
    assert float(accuracy) > 90  # red cats and blue dogs
    assert int(epochs) == 6
    assert float(saved) > 5


def test_the_page(images, monkeypatch):
    monkeypatch.chdir(images.parent)
    page = (ROOT / "docs" / "timm.md").read_text()
    training, schedule = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    given = "input_size=224, batch_size=128, is_training=True"
    assert given in training
    small = 'input_size=32, batch_size=8, is_training=True, device=torch.device("cpu")'
    training = training.replace(given, small).replace("300", "3")
    model = timm.create_model("test_byobnet", num_classes=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    criterion = torch.nn.functional.cross_entropy
    names = {"torch": torch, "model": model, "criterion": criterion, "optimizer": optimizer}
    exec(training, names)
    assert names["train"].summary().epochs == 3
    exec(schedule, names)
    assert names["updates"] == 6
    names["scheduler"].step_update(1)
