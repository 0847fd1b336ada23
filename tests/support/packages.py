"""A Python that has nothing but what some extras of the project bring."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import venv
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from repository import ROOT

import dynaprune

PROJECT = ROOT / "pyproject.toml"


def python_with(extras: Iterable[str], folder: Path) -> Path:
    """Make a virtual environment that links to installed packages, and return its interpreter.

    It holds dynaprune, its core dependencies, and what the extras bring.
    """
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dynaprune").symlink_to(Path(dynaprune.__file__).parent)
    for name in brought_by(extras):
        for file in metadata.files(name) or ():
            entry = file.parts[0]
            if entry not in ("..", "__pycache__") and not (site / entry).exists():
                (site / entry).symlink_to(Path(str(metadata.distribution(name).locate_file(entry))))
    return folder / "bin" / "python"


def run_python(
    python: str | Path, *arguments: object, cwd: Path, timeout: float = 280
) -> subprocess.CompletedProcess[str]:
    """Run an interpreter in a folder, without the paths that this one was told to import from."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [python, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def pip(python: str | Path, *arguments: object) -> None:
    """Run the pip of an interpreter; it may need to download torch."""
    words = ("-m", "pip", "--quiet", *arguments)
    done = run_python(python, *words, cwd=Path(python).parent, timeout=1000)
    assert done.returncode == 0, done.stdout + done.stderr


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the project in an empty folder, and return its path."""
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.iterdir()
    return wheel


def extras_of_the_project() -> dict[str, list[str]]:
    return _project()["optional-dependencies"]


def brought_by(extras: Iterable[str]) -> set[str]:
    """Return the names of all packages that `pip install 'dynaprune[extras]'` brings."""
    seen: set[tuple[str, str]] = set()
    todo = [("dynaprune", extra) for extra in ("", *extras)]
    while todo:
        package, extra = todo.pop()
        if (package, extra) in seen:
            continue
        seen.add((package, extra))
        for text in _requirements_of(package):
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                todo += [(needed.name, each) for each in ("", *needed.extras)]
    return {package for package, _ in seen} - {"dynaprune"}


def _requirements_of(package: str) -> list[str]:
    if package != "dynaprune":
        return metadata.requires(package) or []
    optional = [
        _only_for(extra, text) for extra, texts in extras_of_the_project().items() for text in texts
    ]
    return [*_project()["dependencies"], *optional]


def _only_for(extra: str, text: str) -> str:
    needed, _, marker = text.partition(";")
    return f"{needed}; " + (f"({marker}) and " if marker else "") + f'extra == "{extra}"'


@cache
def _project() -> dict[str, Any]:
    # what is installed may be of an older pyproject.toml; before Python 3.11, pytest brings tomli
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return toml.loads(PROJECT.read_text())["project"]
