"""The `dynaprune` command: how it is called, and what it imports."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from dynaprune.cli.app import app


def test_the_package_can_be_run():
    command = [sys.executable, "-m", "dynaprune", "--version"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "dynaprune 0.2.0\n"


def test_version_and_help():
    assert CliRunner().invoke(app, ["--version"]).output == "dynaprune 0.2.0\n"
    assert "demo" in CliRunner().invoke(app, ["--help"]).output
    text = CliRunner().invoke(app, ["demo", "--help"]).output
    assert all(option in text for option in ("--data", "--root", "--seeds", "--epochs", "--out"))


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, missing):
    from dynaprune.cli import main as cli

    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit, match=rf"{missing}.*pip install 'dynaprune\[cli\]'"):
        cli.main()


def test_the_core_imports_torch_and_numpy_only():
    import subprocess

    code = (
        "import sys, dynaprune; "
        "names = {name.partition('.')[0] for name in sys.modules}; "
        "print(sorted(names & {'scipy', 'sklearn', 'matplotlib', 'rich', 'typer', 'mlxtend', "
        "'PIL', 'pandas'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
