"""Nested containers, such as batches and the arguments of a loss function.

A container is a mapping, a list, a tuple, a named tuple or a dataclass. Anything else is a leaf.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

LEAVES = 4
"""The most leaves that `first_leaves` returns."""

SEARCHED = 64
"""The most parts that `first_leaves` looks at."""


def parts_of(value: Any) -> Mapping[Any, Any]:
    """Return the parts of a container by name or position; empty for any other value."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return dict(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    return {}


def with_parts(value: Any, parts: dict[Any, Any]) -> Any:
    """Return a container of the same type that holds other parts.

    Arguments:
        value: the container.
        parts: its new parts, under the names or positions that `parts_of` returned.
    """
    if type(value) is dict:
        return parts
    if isinstance(value, (list, tuple)):
        elements = list(parts.values())
        return value._make(elements) if hasattr(value, "_make") else type(value)(elements)
    if isinstance(value, Mapping):
        if not hasattr(value, "__setitem__"):
            return parts
        changed = copy.copy(value)
        for name, part in parts.items():
            changed[name] = part
        return changed
    changed = copy.copy(value)
    for name, part in parts.items():
        object.__setattr__(changed, name, part)  # works for frozen dataclasses, too
    return changed


def first_leaves(value: Any) -> list[Any]:
    """Return the outermost tensors in a value, and other leaves that can be weakly referenced.

    It is called for each batch, so it stops after `LEAVES` leaves or `SEARCHED` parts.
    """
    found: list[Any] = []
    parts = [value]
    for part in parts:  # which grows: the outer ones come first
        if type(part) is Tensor:  # the usual case; other tensors are found below
            found.append(part)
        elif isinstance(part, (list, tuple)):
            parts += part[: SEARCHED - len(parts)]
        elif isinstance(part, Mapping):
            parts += islice(part.values(), SEARCHED - len(parts))
        elif type(part).__weakrefoffset__:
            found.append(part)
        if found[LEAVES - 1 :]:  # enough, without a call of len()
            break
    return found
