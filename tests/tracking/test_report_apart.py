"""The process that draws a page: what it needs, and what its end does to the one that asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import bls, mean_loss, train_epoch

import dynaprune
from dynaprune import DataLoader, NoPrune
from dynaprune.tracking.report import write_report

SOURCE = str(Path(dynaprune.__file__).parents[1])

SCRIPT = """
import dynaprune, torch
print("the script runs")
train = dynaprune.BLS(dynaprune.NoPrune(range(20), num_epochs=1)).proxy()
train.record("run" if {folder!r} == "." else {folder!r})
for batch in dynaprune.DataLoader(train, batch_size=5):
    train.update(batch.float().mean())
print("wrote", train.report({page!r}))
"""


@pytest.fixture
def train(tmp_path):
    train = bls(NoPrune, 20)
    train.record(tmp_path / "run")
    train_epoch(DataLoader(train, batch_size=5, sampler=train.sampler), mean_loss)
    return train


def library(folder, monkeypatch, text):
    """Let the process find a library of charts that does something else."""
    folder.mkdir()
    (folder / "altair.py").write_text(text)
    monkeypatch.syspath_prepend(folder)


def test_a_library_that_aborts(train, tmp_path, monkeypatch):
    library(tmp_path / "bad", monkeypatch, "import os; os.abort()")
    page = tmp_path / "page.html"
    page.write_text("the last page")
    with pytest.raises(RuntimeError, match=r"renders it was ended by SIGABRT \(exit code -6\)"):
        train.report(page)
    assert page.read_text() == "the last page"
    assert train.epoch == 1  # and the training is there


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os; os._exit(3)", r"ended with exit code 3.*process:\n\(none\)"),
        ("import os; os._exit(0)", r"ended with exit code 0"),
        ("raise ValueError('no such chart')", r"(?s:exit code 1\..*ValueError: no such chart$)"),
        ("import sys; sys.exit('gone')", r"(?s:exit code 1\..*gone$)"),
    ],
)
def test_a_library_that_ends(train, tmp_path, monkeypatch, text, message):
    library(tmp_path / "bad", monkeypatch, text)
    with pytest.raises(RuntimeError, match=rf"the page was not written: .* {message}"):
        train.report(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_library_that_prints(train, tmp_path, monkeypatch):
    real = tmp_path / "real"
    library(
        real,
        monkeypatch,
        "import os, sys\nprint('loud')\nos.write(1, b'louder')\n"
        f"sys.path.remove({str(real)!r})\ndel sys.modules['altair']\n"
        "import altair\nsys.modules['altair'] = altair\n",
    )
    text = train.report(tmp_path / "page.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "loud" not in text.partition("<script>")[0]


def run_python(*arguments, folder, **options):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": SOURCE},
        check=False,
        **options,
    )


def test_a_script_without_a_main_is_not_run_again(tmp_path):
    """And what lies beside it takes the place of nothing there."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = SCRIPT.format(folder=str(tmp_path / "run"), page=str(tmp_path / "page.html"))
    (tmp_path / "train.py").write_text(script)
    for name in ("json", "random", "altair"):  # the folder where it runs is not imported from
        (elsewhere / f"{name}.py").write_text("raise RuntimeError('the wrong one')")
    elsewhere.chmod(0o500)  # and nothing can be written there
    done = run_python(str(tmp_path / "train.py"), folder=elsewhere)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the script runs") == 1
    assert (tmp_path / "page.html").read_text().endswith("</html>\n")


@pytest.mark.parametrize("how", ["-c", pytest.param("-", marks=pytest.mark.long)])
def test_what_is_no_file(tmp_path, how):
    script = SCRIPT.format(folder=".", page="page.html")
    given = {"input": script} if how == "-" else {}
    done = run_python(how, *([script] if how == "-c" else []), folder=tmp_path, **given)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the script runs") == 1
    assert (tmp_path / "page.html").read_text().endswith("</html>\n")


def test_where_no_python_can_be_started(train, tmp_path, monkeypatch):
    """As in a program that holds its own."""
    monkeypatch.setattr(sys, "executable", "")
    assert write_report(tmp_path / "run", tmp_path / "page.html").read_text().endswith("</html>\n")
