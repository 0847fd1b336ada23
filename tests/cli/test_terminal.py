"""What commands show of names in files, which a terminal must not obey."""

from __future__ import annotations

import io
import json

import pytest
import torch
from helpers import bls, mean_loss, train_epoch
from rich.table import Table
from typer.testing import CliRunner

from dynaprune import DataLoader, NoPrune
from dynaprune.cli.app import app
from dynaprune.cli.terminal import Console, visible

EVIL = "\x1b]0;owned\x07\x9b31m\u202e\u2066\x00\r\x7f\u2028\ud800"
SHOWN = r"\x1b]0;owned\x07\x9b31m\u202e\u2066\x00\r\x7f\u2028\ud800"


def obeyed(text):
    """Return what is in a text that a terminal would obey."""
    return set(text) & set(EVIL) - set("]0;owned31m")


def test_texts():
    assert visible(EVIL) == SHOWN
    assert visible("a\nb\tc") == r"a\nb\tc"
    assert visible("a\nb", but="\n") == "a\nb"
    for fine in ("naïve – [bold] 日本語 עברית", "👩\u200d🔬", "می\u200cخواهم", r"C:\new"):
        assert visible(fine) == fine


def test_a_table():
    output = io.StringIO()
    table = Table(EVIL, title=EVIL, caption=EVIL)
    table.add_row(EVIL)
    console = Console(file=output, width=200, force_terminal=False)
    console.print(table)
    console.print(EVIL)
    assert output.getvalue().count(SHOWN) == 5
    console.print(":x:")
    assert output.getvalue().endswith(":x:\n")
    lines = output.getvalue().splitlines()
    borders = [line for line in lines if "│" in line or "┃" in line]
    assert len({len(line) for line in borders}) == 1  # it is laid out as it is shown


def command(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "300"})


@pytest.fixture
def train(tmp_path):
    train = bls(NoPrune, 40)
    train.record(tmp_path / "run")
    loader = DataLoader(train, batch_size=8, sampler=train.sampler)
    for _ in range(3):
        train_epoch(loader, mean_loss)
    return train


EVIL_KEY = EVIL.replace("\ud800", "")  # which a checkpoint cannot hold


def test_inspect(train, tmp_path):
    state = train.state_dict()
    state |= {"method": f"{EVIL_KEY}[red]", "dataset": EVIL_KEY}
    torch.save({EVIL_KEY: {"[/red]": state}, f"{EVIL_KEY}2": torch.zeros(2)}, tmp_path / "c.pt")
    result = command("inspect", tmp_path / "c.pt")
    assert result.exit_code == 0, result.output
    assert not obeyed(result.output)
    assert result.output.count(SHOWN.replace(r"\ud800", "")) == 4
    assert "[/red]" in result.output


def test_spectrum(train, tmp_path):
    path = tmp_path / "run" / "run.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"method": f"{EVIL}[/red]$\\frac", "score": "[bold]"}))
    out = tmp_path / "[red]picture.png"
    result = command("spectrum", tmp_path / "run", "--out", out)
    assert result.exit_code == 0, result.output
    assert not obeyed(result.output)
    text = "".join(result.output.split())  # the title is broken into lines
    assert f"{SHOWN}[/red]$\\frac,[bold],epochs:3" in text
    assert "[red]picture.png" in result.output
    assert out.exists()


@pytest.mark.parametrize("name", ["inspect", "report", "spectrum", "audit"])
def test_names_in_errors(tmp_path, name):
    result = command(name, str(tmp_path / EVIL_KEY.replace("\x00", "")) + ".py:make")
    assert result.exit_code == 2
    assert not obeyed(result.output)
    assert r"\x1b]0;owned\x07" in result.output


def test_what_a_file_of_the_users_returns(tmp_path):
    made = f"type({EVIL_KEY.replace(chr(0), '')!r}, (), {{}})()"
    (tmp_path / "mine.py").write_text(f"def make(): return {made}\n")
    result = command("report", tmp_path, "--data", f"{tmp_path / 'mine.py'}:make")
    assert result.exit_code == 2
    assert "must return the dataset" in result.output
    assert not obeyed(result.output)


def test_an_audit(tmp_path):
    from dynaprune.cli.audit_table import findings_table

    class Found:
        def rows(self):
            return [("worst class", "[/red][bold]")]

    output = io.StringIO()
    Console(file=output, width=80).print(findings_table(Found(), "[/red]"))
    assert output.getvalue().count("[/red]") == 2
