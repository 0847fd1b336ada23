"""`dynaprune audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from dynaprune import (
    DataLoader,
    save_checkpoint,
)
from dynaprune.cli.app import app

# The command

FILE = """
import torch
from dynaprune import BLS, DataLoader, InfoBatch, NoPrune

data = torch.arange(60.0)[:, None] / 60

def loss_fn(model, batch):
    return model(batch).square().mean()

def make():
    torch.manual_seed(0)
    return BLS(InfoBatch(data, num_epochs=9)).proxy(), torch.nn.Linear(1, 1), loss_fn

def make_four():
    def collate(samples):
        return torch.stack(samples) + 0
    return *make(), collate

def make_dict():
    train, model, _ = make()
    labels = ["common"] * 59 + ["rare"]
    return dict(train=train, model=model, loss_fn=loss_fn, labels=labels, repeats=2)

def make_dict_of_more():
    return make_dict() | dict(number=1, num_samples=3)

def make_dict_of_less():
    return dict(train=make()[0])

def make_two():
    return make()[:2]

def make_none():
    pass

def make_error():
    raise ZeroDivisionError("in the user's own code")

def make_other():
    return data, torch.nn.Linear(1, 1), loss_fn

number = 3
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))  # taken off again, with what the command adds
    monkeypatch.setitem(__import__("sys").modules, "the_run", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "the_run.py").write_text(FILE)
    return tmp_path / "the_run.py"


def write_checkpoint(file: Path) -> Path:
    names: dict[str, Any] = {}
    exec(FILE, names)
    train, model, loss_fn = names["make"]()
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.bias.fill_(0.0)
    for batch in DataLoader(train, batch_size=1):
        train.update(loss_fn(model, batch))
    path = file.with_name("run.pt")
    save_checkpoint(path, model=model.state_dict(), train=train.state_dict())
    return path


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["audit", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.mark.parametrize("function", ["make", "make_four", "make_dict"])
def test_command_with_a_checkpoint(file, function):
    path = write_checkpoint(file)
    result = run(f"the_run.py:{function}", "--checkpoint", path, "--num-samples", "50")
    assert result.exit_code == 0, result.output
    assert "true losses measured" in result.output
    assert "50 in" in result.output
    # at batch size 1 one epoch orders them by their losses
    assert "1.00 (95% interval 1.00 to 1.00)" in result.output
    assert "- The scores order the samples by their losses" in result.output


def test_command_with_labels(file):
    result = run("the_run.py:make_dict", "--checkpoint", write_checkpoint(file))
    assert result.exit_code == 0, result.output
    assert "The largest class has 59 samples, the smallest 1." in " ".join(result.output.split())


def test_command_without_a_checkpoint(file):
    result = run(f"{file}:make")
    assert result.exit_code == 0, result.output
    assert "train for an epoch first" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["the_run.py"], "give FILE.py:FUNCTION, such as train.py:make, but 'the_run.py'"),
        (["the_run:make"], "give FILE.py:FUNCTION"),
        (["other.py:make"], "there is no file other.py"),
        (["the_run.py:build"], "the_run.py has no function build"),
        (["the_run.py:number"], "the_run.py has no function number"),
        (["the_run.py:make_two"], "must return train, model, loss_fn, and optionally a"),
        (["the_run.py:make_two"], "but it returned 2 values"),
        (["the_run.py:make_dict_of_more"], "but it returned a dict with number, num_samples"),
        (["the_run.py:make_dict_of_less"], "but it returned no model, loss_fn"),
        (["the_run.py:make_none"], "but it returned a NoneType"),
        (["the_run.py:make_other"], "train must be a PrunedDataset, but a Tensor"),
        (["the_run.py:make", "--checkpoint", "none.pt"], "there is no checkpoint none.pt"),
        (["the_run.py:make", "--checkpoint", "the_run.py"], "cannot be read"),
        (["the_run.py:make", "--checkpoint", "bare.pt"], "is incomplete, it has no train"),
        (["the_run.py:make", "--checkpoint", "other.pt"], "size mismatch"),
    ],
)
def test_mistakes_are_told_without_a_traceback(file, arguments, message):
    save_checkpoint("bare.pt", model={})
    names: dict[str, Any] = {}
    exec(FILE, names)
    save_checkpoint(
        "other.pt", model=nn.Linear(3, 1).state_dict(), train=names["make"]()[0].state_dict()
    )
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("dynaprune audit: ")
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_errors_in_the_users_own_code_are_the_users_to_trace(file):
    result = run("the_run.py:make_error")
    assert isinstance(result.exception, ZeroDivisionError)
