"""Running a Python file of the user's, for commands that are given one."""

from __future__ import annotations

import importlib.util
import sys
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
