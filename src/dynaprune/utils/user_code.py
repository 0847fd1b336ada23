"""Running a user's Python file, for commands that take one as an argument.

The file is imported as a submodule of this module, under a name that encodes its path. So it
replaces no other module, whatever the file is called. A process that only knows the name, such as
a worker that unpickles an object of one of its classes, can find the file.
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

__path__: list[str] = []  # makes this module a package, so that Python imports submodules of it

PREFIX = f"{__name__}.file_"
"""The prefix of module names; the path follows as hexadecimal digits."""


class _Finder(MetaPathFinder):
    """Finds the file of a module from its name."""

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
    if spec is None or spec.loader is None:  # the name does not end in .py
        raise ValueError(f"{file} is no Python file")
    module = module_from_spec(spec)
    add_to_path(str(file.parent))
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def add_to_path(folder: str) -> None:
    """Make modules importable from a folder.

    It comes after the standard library in `sys.path`: otherwise a json.py in it would replace
    Python's json, for torch and this package, too. It comes before installed packages, as with
    `python`: a training folder often has a datasets.py or utils.py that the file imports.
    """
    if folder in sys.path:
        return
    own = Path(sysconfig.get_path("stdlib"))
    of_python = (str(own), str(own / "lib-dynload"), str(sysconfig.get_config_var("DESTSHARED")))
    places = [place for place, each in enumerate(sys.path) if each in of_python]
    sys.path.insert(max(places, default=len(sys.path) - 1) + 1, folder)


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised by this package itself rather than by code that it called."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return False
    module: str = last.tb_frame.f_globals.get("__name__", "")
    is_below = module.partition(".")[0] == __name__.partition(".")[0]
    return is_below and not module.startswith(PREFIX)


def is_users(error: BaseException, files: Iterable[Path]) -> bool:
    """Whether an error comes from code of a user's file rather than from this package."""
    known = {str(file.resolve()) for file in files}
    last = error.__traceback__
    while last is not None:
        if last.tb_frame.f_code.co_filename in known:
            return not is_ours(error)
        last = last.tb_next
    return False
