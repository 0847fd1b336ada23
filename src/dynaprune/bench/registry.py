"""Which tasks there are: those of the demo, those of a folder, or the one in a user's own file."""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import numbers
import pkgutil
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

from ..cli.user_code import add_to_path, run_file
from . import tasks
from .task import Task

REQUIRED = ("name", "kind", "dataset", "model", "metric", "margin", "recipe")

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
        for task in _tasks_of_file(file, folder)
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
        return _from_file(Path(place))
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
        for task in _tasks_in(importlib.import_module(f"{tasks.__name__}.{module.name}"))
    ]
    if folder is not None:
        below = folder / "tasks"
        files = _python_files(below if below.is_dir() else folder)
        more = [task for file in files for task in _tasks_of_file(file, folder)]
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


def _tasks_of_file(file: Path, folder: Path) -> list[type[Task]]:
    """Run a file of a folder, and return its tasks, if any: it may be what others import.

    Raises:
        ValueError: a task lacks an attribute.
    """
    add_to_path(str(folder.parent))
    found = _tasks_in(run_file(file))
    for task in found:
        _check_task(task, file)
    return found


def _from_file(path: Path) -> type[Task]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}, which was given as a task")
    module = run_file(path)
    classes = _classes_in(module)
    found = _tasks_in(module) or classes
    if len(found) != 1:
        names = ", ".join(task.__name__ for task in found) or "none"
        raise ValueError(
            f"{path} must define one class that inherits from dynaprune.bench.Task, but it has "
            f"{names}"
        )
    task = found[0]
    if inspect.isabstract(task):
        raise ValueError(
            f"the task {task.__name__} in {path} lacks the "
            f"{_listed('method', sorted(task.__abstractmethods__))}"
        )
    _check_task(task, path)
    return task


def _check_task(task: type[Task], path: Path) -> None:
    """Check that a task has all attributes, and that they are what they must be.

    Raises:
        ValueError: it has not, or they are not.
    """
    missing = [name for name in REQUIRED if not hasattr(task, name)]
    if missing:
        raise ValueError(
            f"the task {task.__name__} in {path} lacks the {_listed('attribute', missing)}: set it "
            "in the class; dynaprune.bench.Task says what each is"
        )
    _check_attributes(task, f"the task {task.__name__} in {path}")


def _check_attributes(task: type[Task], what: str) -> None:
    """Check what would spoil the report, after all runs were made.

    Raises:
        ValueError: the margin is no number above 0, the name is none for files, or it is said that
            lower is better by an attribute that tasks do not have.
    """
    margin = task.margin
    is_number = isinstance(margin, numbers.Real) and not isinstance(margin, bool)
    if not is_number or not 0 < margin < math.inf:
        raise ValueError(
            f"{what} must have a margin that is a number above 0, but it is {margin!r}"
        )
    if not isinstance(task.name, str) or not re.fullmatch(r"[\w-][\w.-]*", task.name):
        raise ValueError(
            f"{what} must have a name of letters, digits, '-', '_' and '.', of which files are "
            f"named, but it is {task.name!r}"
        )
    if hasattr(task, "lower_is_better"):
        raise ValueError(
            f"{what} has an attribute lower_is_better, which tasks do not have: set "
            "higher_is_better"
        )


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _tasks_in(module: ModuleType) -> list[type[Task]]:
    return [task for task in _classes_in(module) if not inspect.isabstract(task)]


def _classes_in(module: ModuleType) -> list[type[Task]]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Task)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    ]
