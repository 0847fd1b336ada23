"""The arguments that an object was constructed with, as far as they are plain values."""

from __future__ import annotations

from typing import Any


def plain(made: Any) -> dict[str, Any]:
    """Return the public attributes of an object that are numbers, strings or booleans.

    Example:
        >>> from dynaprune import SeTa
        >>> from dynaprune.utils.settings import plain
        >>> plain(SeTa(range(100), num_epochs=10))["num_groups"]
        5
    """
    return {
        name: value
        for name, value in vars(made).items()
        if not name.startswith("_") and isinstance(value, (int, float, str))
    }
