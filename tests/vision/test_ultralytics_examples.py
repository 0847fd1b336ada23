"""Ultralytics: the example, and the code in the documentation."""

from __future__ import annotations

import re
import runpy
import sys

import torch
from changed_lines import edited, is_documented, readme_example
from repository import ROOT
from ultralytics_runs import SETTINGS, write_boxes, write_network


def test_the_example(tmp_path, monkeypatch, capsys):
    script = ROOT / "examples" / "train_ultralytics.py"
    folder = tmp_path / "example"
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", [str(script), "--epochs", "8", "--folder", str(folder)])
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    found, epochs, saved = re.search(
        r"test mAP50 ([\d.]+)%; (\d+) epochs, .* \(([\d.]+)% saved\)", capsys.readouterr().out
    ).groups()
    assert float(found) > 25
    assert (int(epochs), float(saved)) == (8, 30.0)


def test_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_boxes(tmp_path / "data")
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "ultralytics.md").read_text(), flags=re.DOTALL
    )
    call = 'data="data.yaml", epochs=100, imgsz=640'
    settings = {**SETTINGS, "data": "data/data.yaml", "epochs": 2, "project": str(tmp_path)}
    assert call in code
    code = code.replace(call, "**settings").replace("yolo11n.yaml", str(write_network(tmp_path)))
    names = {"settings": settings}
    exec(code, names)
    assert names["model"].trainer.pruned.summary().epochs == 2


def test_its_own_example_with_the_lines_that_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_boxes(tmp_path / "data")
    before = readme_example("ultralytics").partition("# Evaluate")[0]
    given = "from ultralytics import YOLO\n"
    page = (ROOT / "docs" / "ultralytics.md").read_text()
    added = page.partition(given)[2].partition('model = YOLO("')[0]
    last = "  # Device to run on (e.g., 'cpu', 0, [0,1,2,3])\n"
    after = edited(before, {given: given + added, last: f"{last}    trainer=PrunedTrainer,\n"})
    is_documented("Ultralytics", "ultralytics", before, after)
    names = {"small": {**SETTINGS, "epochs": 2, "project": str(tmp_path)}}
    call = after[after.index('    data="coco8.yaml"') : after.index("    trainer=")]
    network = str(write_network(tmp_path))
    exec(
        edited(after, {call: "    data='data/data.yaml', **small,\n", "yolo26n.pt": network}), names
    )
    assert names["model"].trainer.pruned.summary().epochs == 2
