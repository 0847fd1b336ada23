"""Which tasks there are: those of the demo, those of a folder, or the one in a user's own file."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from . import tasks
from .task import Task
from .task_file import only_task_of, tasks_in, tasks_of

CLONE = Path(__file__).parents[3]
"""The clone of the repository, where the package is imported from one."""

ZOO = Path("benchmarks", "zoo")
WHERE_THE_ZOO_IS = (
    f"the tasks of the zoo are in a clone of the repository: --tasks {ZOO.as_posix()}"
)


def find_tasks(folder: Path | None = None) -> dict[str, type[Task]]:
    """Return the tasks of the demo and those of a folder, by name, sorted by kind and name.

    Arguments:
        folder: its files have a task each, or those in its subfolder `tasks` if there is one. They
            may import from the folder by its name. The default is the zoo of the clone that this
            package is imported from, if it is.

    Raises:
        ValueError: the folder holds no task, or one that lacks an attribute, or two tasks have the
            same name.
        FileNotFoundError: there is no such folder.
        ImportError: a package that tasks need is not installed.
    """
    return _tasks_with(_folder_or_zoo(folder))


def find_presets(folder: Path | None = None) -> dict[str, type[Task]]:
    """Return the tasks in a folder's subfolder `presets`, by the names of their files.

    Arguments:
        folder: as `find_tasks` takes it.

    Raises:
        ValueError: a task lacks an attribute.
        FileNotFoundError: there is no such folder.
        ImportError: a package that tasks need is not installed.
    """
    folder = _folder_or_zoo(folder)
    if folder is None:
        return {}
    return {
        file.stem.replace("_", "-"): task
        for file in _python_files(folder / "presets")
        for task in tasks_of(file, folder)
    }


def find_task(place: str, folder: Path | None = None) -> type[Task]:
    """Return a task by its name, or the one in a Python file.

    Arguments:
        place: a name, or a path that ends in `.py`.
        folder: where tasks are looked for by name, as `find_tasks` takes it.

    Raises:
        ValueError: there is no task of that name, or not just one in that file, or it lacks a
            method or an attribute.
        FileNotFoundError: there is no such file.
    """
    if place.endswith(".py"):
        return only_task_of(Path(place))
    known = find_tasks(folder)
    if place not in known:
        close = difflib.get_close_matches(place, known, n=3)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        elsewhere = "" if _folder_or_zoo(folder) else f"; {WHERE_THE_ZOO_IS}"
        raise ValueError(
            f"there is no task {place!r}.{meant} `dynaprune bench list` shows all{elsewhere}; a "
            "task of your own is given by the path of its file, which ends in .py"
        )
    return known[place]


def _folder_or_zoo(folder: Path | None) -> Path | None:
    """Return a folder with its whole path; without one the zoo of this clone, if it is one.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}, which was given as --tasks; {WHERE_THE_ZOO_IS}"
        )
    if folder is None and (CLONE / ZOO).is_dir() and (CLONE / "src").is_dir():
        folder = CLONE / ZOO
    return None if folder is None else folder.resolve()


@cache  # a file is not run twice
def _tasks_with(folder: Path | None) -> dict[str, type[Task]]:
    found = [
        task
        for module in pkgutil.iter_modules(tasks.__path__)
        for task in tasks_in(importlib.import_module(f"{tasks.__name__}.{module.name}"))
    ]
    if folder is not None:
        below = folder / "tasks"
        files = _python_files(below if below.is_dir() else folder)
        more = [task for file in files for task in tasks_of(file, folder)]
        if not more:
            raise ValueError(
                f"no Python file in {folder} or its subfolder tasks has a class that inherits "
                f"from dynaprune.bench.Task; {WHERE_THE_ZOO_IS}"
            )
        found += more
    check_names([task.name for task in found])
    return {task.name: task for task in sorted(found, key=lambda task: (task.kind, task.name))}


def check_names(names: Sequence[str]) -> None:
    """Check that no two tasks have the same name, by which their results are known.

    Raises:
        ValueError: some have.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"tasks need names of their own, but two are called {twice[0]!r}")


def _python_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.py") if not file.name.startswith("_"))
