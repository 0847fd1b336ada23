"""Running a Python file of the user's, for commands that are given one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


def run_file(file: Path) -> ModuleType:
    """Run a file as `python` would, with its folder first on the path of imports.

    Raises:
        ValueError: it is no Python file.
        Exception: whatever the file raises.
    """
    file = file.resolve()
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:  # not so for a name that ends in .py
        raise ValueError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    sys.modules[file.stem] = module  # where classes of it, and workers, look it up
    spec.loader.exec_module(module)
    return module


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised by this package itself, and not by what it has called."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return False
    module: str = last.tb_frame.f_globals.get("__name__", "")
    return module.partition(".")[0] == __name__.partition(".")[0]


def is_users(error: BaseException, files: Iterable[Path]) -> bool:
    """Whether an error comes from what a file of the user's does, and not from this package."""
    known = {str(file.resolve()) for file in files}
    last = error.__traceback__
    while last is not None:
        if last.tb_frame.f_code.co_filename in known:
            return not is_ours(error)
        last = last.tb_next
    return False
