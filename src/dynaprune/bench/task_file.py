"""The tasks in a Python file, checked before anything is trained."""

from __future__ import annotations

import inspect
import math
import numbers
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from ..utils.user_code import add_to_path, run_file
from .recipe import Recipe
from .task import Task

REQUIRED = ("name", "kind", "dataset", "model", "metric", "margin", "recipe")


def tasks_of(file: Path, package: Path) -> list[type[Task]]:
    """Run a file, and return the tasks that it defines, which may be none.

    Arguments:
        file: a Python file.
        package: a folder from which the file may import by the folder's name.

    Raises:
        ValueError: a task lacks an attribute.
    """
    add_to_path(str(package.parent))
    found = tasks_in(run_file(file))
    for task in found:
        _check_task(task, file)
    return found


def only_task_of(path: Path) -> type[Task]:
    """Run a file, and return its only task.

    Raises:
        ValueError: it does not have exactly one task, or the task lacks a method or an attribute.
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}, which was given as a task")
    module = run_file(path)
    classes = _classes_in(module)
    found = tasks_in(module) or classes
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
    """Check that a task has all required attributes, and that they are valid.

    Raises:
        ValueError: one is missing or invalid.
    """
    missing = [name for name in REQUIRED if not hasattr(task, name)]
    if missing:
        raise ValueError(
            f"the task {task.__name__} in {path} lacks the {_listed('attribute', missing)}: set it "
            "in the class, as documented in dynaprune.bench.Task"
        )
    _check_attributes(task, f"the task {task.__name__} in {path}")


def _check_attributes(task: type[Task], what: str) -> None:
    """Check attributes that only the report would use, after all runs.

    Raises:
        ValueError: the margin is not a number above 0, the name is not usable as a file name,
            `full_recipe` is not a recipe, or there is an attribute `lower_is_better`, which tasks
            do not have.
    """
    if not isinstance(task.full_recipe, Recipe | None):
        raise ValueError(
            f"{what} must have a full_recipe that is a Recipe or None, but it is "
            f"{task.full_recipe!r}"
        )
    margin = task.margin
    is_number = isinstance(margin, numbers.Real) and not isinstance(margin, bool)
    if not is_number or not 0 < margin < math.inf:
        raise ValueError(
            f"{what} must have a margin that is a number above 0, but it is {margin!r}"
        )
    if not isinstance(task.name, str) or not re.fullmatch(r"[\w-][\w.-]*", task.name):
        raise ValueError(
            f"{what} must have a name of letters, digits, '-', '_' and '.', which becomes part of "
            f"file names, but it is {task.name!r}"
        )
    if hasattr(task, "lower_is_better"):
        raise ValueError(
            f"{what} has an attribute lower_is_better, which tasks do not have: set "
            "higher_is_better"
        )


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def tasks_in(module: ModuleType) -> list[type[Task]]:
    """Return the tasks that a module defines, without abstract base classes."""
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
