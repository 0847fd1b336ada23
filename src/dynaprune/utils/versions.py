"""The versions that a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

__version__ = "0.2.0"

OTHERS = ("torch", "numpy", "transformers")


def versions() -> dict[str, str]:
    """Return the versions of Python, dynaprune, and the installed packages that models use."""
    found = {"python": platform.python_version(), "dynaprune": __version__}
    for name in OTHERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
