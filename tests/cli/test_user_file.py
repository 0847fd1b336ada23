"""Running a Python file of the user's."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest

import dynaprune
from dynaprune.utils.user_code import is_ours, is_users, run_file


@pytest.fixture(autouse=True)
def _modules_and_path(monkeypatch):
    """Let what a test imports be forgotten."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        del sys.modules[name]
    sys.modules.update(before)


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_a_file_takes_the_place_of_no_module(tmp_path):
    write(tmp_path, random="VALUE = 1\n", torch="VALUE = 2\n")
    assert run_file(tmp_path / "random.py").VALUE == 1
    assert run_file(tmp_path / "torch.py").VALUE == 2
    assert sys.modules["random"] is random
    import torch

    assert torch.Tensor.__module__ == "torch"


def test_two_files_of_one_name(tmp_path):
    for name in ("one", "other"):
        write(tmp_path / name, task=f"class Task:\n    name = {name!r}\n")
    one, other = (run_file(tmp_path / name / "task.py") for name in ("one", "other"))
    assert pickle.loads(pickle.dumps(one.Task())).name == "one"
    assert pickle.loads(pickle.dumps(other.Task())).name == "other"
    assert run_file(tmp_path / "one" / "task.py").Task is not one.Task  # it is run again


@pytest.mark.parametrize("name", ["a file.py", "2.py", "naïve.py", "a.b.py"])
def test_files_whose_names_are_no_names_of_modules(tmp_path, name):
    (tmp_path / name).write_text("class Data:\n    value = 3\n")
    made = run_file(tmp_path / name).Data()
    assert pickle.loads(pickle.dumps(made)).value == 3


def test_files_beside_it(tmp_path):
    """Those of Python win; those of the user win over what was installed, as with `python`."""
    write(
        tmp_path,
        main="import json, colorsys, rich_helper, altair\nfound = (json, colorsys, altair)\n",
        json="raise RuntimeError('the wrong json')\n",
        colorsys="raise RuntimeError('the wrong colorsys')\n",
        rich_helper="",
        altair="mine = True\n",
    )
    for name in ("colorsys", "altair"):
        sys.modules.pop(name, None)
    found = run_file(tmp_path / "main.py").found
    assert found[0] is json
    assert Path(found[1].__file__).parent != tmp_path
    assert found[2].mine


def test_a_folder_is_put_on_the_path_once(tmp_path):
    write(tmp_path, main="")
    run_file(tmp_path / "main.py")
    run_file(tmp_path / "main.py")
    assert sys.path.count(str(tmp_path)) == 1


def test_whose_an_error_is(tmp_path):
    file = write(tmp_path, main="def fail(): raise ValueError('mine')\n") / "main.py"
    module = run_file(file)
    with pytest.raises(ValueError, match="mine") as caught:
        module.fail()
    assert not is_ours(caught.value)
    assert is_users(caught.value, [file])
    with pytest.raises(ValueError, match="num_epochs") as caught:
        dynaprune.NoPrune(range(3), num_epochs=0)
    assert is_ours(caught.value)
    namesake = {"__name__": "dynaprune_helpers"}
    exec("def fail(): raise ValueError('theirs')", namesake)
    with pytest.raises(ValueError, match="theirs") as caught:
        namesake["fail"]()
    assert not is_ours(caught.value)


AUDITED = """
import torch
from torch.utils.data import DataLoader, Dataset
from beside import SIZE

class Data(Dataset):
    def __len__(self):
        return SIZE
    def __getitem__(self, index):
        return torch.full((3,), float(index)), index % 2

def make():
    loader = DataLoader(Data(), batch_size=4, num_workers=2, multiprocessing_context="spawn")
    assert sum(len(labels) for _, labels in loader) == SIZE
    return Data()
"""


def test_workers_that_are_spawned_find_its_classes(tmp_path):
    """Also of a file that is called like a module of Python, with two workers, in a command."""
    write(tmp_path / "mine", random=AUDITED, beside="SIZE = 12\n")
    train = dynaprune.BLS(dynaprune.NoPrune(range(12), num_epochs=1)).proxy()
    train.record(tmp_path / "run")
    for batch in dynaprune.DataLoader(train, batch_size=4):
        train.update(batch.float().mean())
    place = tmp_path / "mine" / "random.py"
    page = tmp_path / "page.html"
    command = ["report", tmp_path / "run", "--data", f"{place}:make", "--out", page]
    source = str(Path(dynaprune.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "dynaprune", *map(str, command)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": source},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Skipped most" in page.read_text()
