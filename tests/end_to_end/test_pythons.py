"""The wheel in each Python that it claims, as far as they are on this machine and without torch."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from packages import build_wheel, pip, run_python
from repository import ROOT
from user_commands import check

PROJECT = (ROOT / "pyproject.toml").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
CLAIMED = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)

CHECK = """
import ast
import importlib
import sys
import warnings
from pathlib import Path

warnings.simplefilter("error")


def imports_in(node):
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        for each in node.names:
            yield each.name, None
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        for each in node.names:
            yield node.module, each.name
    for child in ast.iter_child_nodes(node):
        yield from imports_in(child)


files = sorted(Path(sys.argv[1]).rglob("*.py"))
found = set()
for file in files:
    tree = ast.parse(file.read_bytes(), str(file))
    compile(tree, str(file), "exec")
    found.update(imports_in(tree))
own = [each for each in found if each[0].partition(".")[0] in sys.stdlib_module_names]
for module, name in sorted(own, key=str):
    imported = importlib.import_module(module)
    if name is not None and not hasattr(imported, name):
        importlib.import_module(f"{module}.{name}")
print("%d.%d" % sys.version_info[:2], len(files), len(own))
"""
"""Compiles all files of a folder, and imports what they need of the standard library."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.long
@pytest.mark.parametrize("version", CLAIMED)
def test_a_python_has_what_all_files_need(version, wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PYENV_VERSION", version)  # the commands of pyenv read it
    python = interpreter(version)
    pip(python, "install", "--no-deps", "--no-compile", "--target", tmp_path, wheel)
    printed = check(run_python(python, "-c", CHECK, tmp_path / "dynaprune", cwd=tmp_path))
    files = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")]
    assert printed.split()[:2] == [version, str(len(files))]


def interpreter(version):
    if version == "{}.{}".format(*sys.version_info):
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None or run_python(found, "--version", cwd=ROOT).returncode:
        pytest.skip(f"needs Python {version}")
    return found


def test_pythons_are_claimed_alike():
    (required,) = re.findall(r'^requires-python = ">=(.*)"$', PROJECT, flags=re.MULTILINE)
    tested = re.findall(r"test-python-(\S+)", re.search(r"^test-versions:.*", MAKEFILE, re.M)[0])
    page = (ROOT / "docs" / "install.md").read_text()
    assert CLAIMED[0] == tested[0] == required
    assert CLAIMED[-1] == tested[-1]
    assert f"Python can be {CLAIMED[0]} to {CLAIMED[-1]}." in page


def test_the_oldest_versions_are_those_of_the_project():
    (needed,) = re.findall(r"^dependencies = \[(.*)\]$", PROJECT, flags=re.MULTILINE)
    done = subprocess.run(
        ["make", "--dry-run", f"test-python-{CLAIMED[0]}"], cwd=ROOT, capture_output=True, text=True
    )
    assert needed.replace(">=", "==").replace(",", "") in done.stdout
    torch = re.search(r"torch>=([\d.]+)", needed)[1]
    assert f"torch ≥ {torch} " in (ROOT / "README.md").read_text()
    page = (ROOT / "docs" / "install.md").read_text()
    assert set(re.findall(r"(?:torch|it is|must be) (\d+\.\d+)\s+or\s+newer", page)) == {torch}
