"""Which tasks there are: a file each in `tasks/`, or a user's own file."""

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

from ..utils.user_code import run_file
from . import tasks
from .task import Task

REQUIRED = ("name", "kind", "dataset", "model", "metric", "margin", "recipe")


@cache
def built_in() -> dict[str, type[Task]]:
    """Return the tasks that come with the package, by name, sorted by kind and name.

    Raises:
        ImportError: a package that tasks need is not installed.
    """
    found = [
        task
        for module in pkgutil.iter_modules(tasks.__path__)
        for task in _tasks_in(importlib.import_module(f"{tasks.__name__}.{module.name}"))
    ]
    return {task.name: task for task in sorted(found, key=lambda task: (task.kind, task.name))}


def find_task(place: str) -> type[Task]:
    """Return a task by its name, or the one in a Python file.

    Arguments:
        place: a name, or a path that ends in `.py`.

    Raises:
        ValueError: there is no task of that name, or not just one in that file, or it lacks a
            method or an attribute.
        FileNotFoundError: there is no such file.
    """
    if place.endswith(".py"):
        return _from_file(Path(place))
    known = built_in()
    if place not in known:
        close = difflib.get_close_matches(place, known, n=3)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(
            f"there is no task {place!r}.{meant} `dynaprune bench list` shows all; a task of your "
            "own is given by the path of its file, which ends in .py"
        )
    return known[place]


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
    missing = [name for name in REQUIRED if not hasattr(task, name)]
    if missing:
        raise ValueError(
            f"the task {task.__name__} in {path} lacks the {_listed('attribute', missing)}: set it "
            "in the class; dynaprune.bench.Task says what each is"
        )
    _check_attributes(task, f"the task {task.__name__} in {path}")
    return task


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
