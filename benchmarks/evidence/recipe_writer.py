"""Writing a recipe of full length into the file of its task."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from dynaprune.bench.recipe import Recipe
from dynaprune.bench.task import Task


def write_recipe(task: type[Task], recipe: Recipe) -> None:
    """Set `full_recipe` in the file of a task, below its `recipe` or in place of an older one."""
    place = inspect.getsourcefile(task)
    assert place is not None
    path = Path(place)
    path.write_text(
        with_recipe(path.read_text(encoding="utf-8"), task.__name__, recipe), encoding="utf-8"
    )


def with_recipe(text: str, name: str, recipe: Recipe) -> str:
    """Return the text of a Python file in which the task class of a name has a full recipe."""
    line = (
        f"    full_recipe = recipe.with_length(epochs={recipe.epochs}, "
        f"learning_rate={recipe.learning_rate!r})"
    )
    own, older = (_assignment(text, name, target) for target in ("recipe", "full_recipe"))
    if own is None:
        raise ValueError(f"the class {name} sets no recipe of its own")
    lines = text.splitlines()
    if older is None:
        lines.insert(own.stop, line)
    else:
        lines[older.start : older.stop] = [line]
    return "\n".join(lines) + "\n"


def _assignment(text: str, name: str, target: str) -> slice | None:
    """Return the lines in which a class assigns an attribute."""
    for task in ast.parse(text).body:
        if not isinstance(task, ast.ClassDef) or task.name != name:
            continue
        for found in task.body:
            if isinstance(found, ast.Assign) and ast.unparse(found.targets[0]) == target:
                return slice(found.lineno - 1, found.end_lineno)
    return None
