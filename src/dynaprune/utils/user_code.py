"""Running a Python file of the user's, for commands that are given one.

Its module is imported below this one, under a name that is made of its path. So it takes the place
of no other module, whatever the file is called, and a process that knows no more than the name, as
a worker that is sent an object of one of its classes, finds the file.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

__path__: list[str] = []  # what Python imports other modules below must have

PREFIX = f"{__name__}.file_"
"""How the names of modules begin; the path, in hexadecimal digits, follows."""


class _Finder(MetaPathFinder):
    """Finds the file of a module in its name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        try:
            file = os.fsdecode(bytes.fromhex(fullname.removeprefix(PREFIX)))
        except ValueError:
            return None
        return spec_from_file_location(fullname, file) if os.path.isfile(file) else None


sys.meta_path.append(_Finder())


def run_file(file: Path) -> ModuleType:
    """Run a file, which may import from its folder, and return its module.

    Raises:
        ValueError: it is no Python file.
        Exception: whatever the file raises.
    """
    file = file.resolve()
    name = PREFIX + os.fsencode(file).hex()
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:  # not so for a name that ends in .py
        raise ValueError(f"{file} is no Python file")
    module = module_from_spec(spec)
    add_to_path(str(file.parent))
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def add_to_path(folder: str) -> None:
    """Let modules be imported from a folder.

    After those of Python: a json.py there would be imported in place of Python's, by torch and by
    this package as well. Before packages that were installed, as `python` does: in the folder of a
    training there is often a datasets.py or utils.py, and the file means that one.
    """
    if folder in sys.path:
        return
    own = Path(sysconfig.get_path("stdlib"))
    of_python = (str(own), str(own / "lib-dynload"), str(sysconfig.get_config_var("DESTSHARED")))
    places = [place for place, each in enumerate(sys.path) if each in of_python]
    sys.path.insert(max(places, default=len(sys.path) - 1) + 1, folder)


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised by this package itself, and not by what it has called."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return False
    module: str = last.tb_frame.f_globals.get("__name__", "")
    is_below = module.partition(".")[0] == __name__.partition(".")[0]
    return is_below and not module.startswith(PREFIX)


def is_users(error: BaseException, files: Iterable[Path]) -> bool:
    """Whether an error comes from what a file of the user's does, and not from this package."""
    known = {str(file.resolve()) for file in files}
    last = error.__traceback__
    while last is not None:
        if last.tb_frame.f_code.co_filename in known:
            return not is_ours(error)
        last = last.tb_next
    return False
