"""Names of a framework that are not part of its public interface."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any


def require(owner: Any, name: str, package: str, tested: str) -> Any:
    """Return an attribute of a framework that may be missing in other versions of it.

    Arguments:
        owner: the module, class or object that has it.
        name: its name.
        package: the name under which pip installs the framework.
        tested: the versions that were tested, such as `8.4`.

    Raises:
        ImportError: it is missing; the message says which versions work.
    """
    try:
        return getattr(owner, name)
    except AttributeError as error:
        holder = getattr(owner, "__name__", type(owner).__name__)
        raise ImportError(
            f"{package} {version(package)} has no {holder}.{name}, which this integration needs. "
            f"It was tested with {package} {tested}: pip install '{package}=={tested}.*'"
        ) from error
