"""Splitting the arguments of a criterion into slices: which parts have a batch dimension.

`chunked.Chunked` documents the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..utils.nested import parts_of, with_parts

Lists: TypeAlias = Literal["parts", "samples"]
"""What lists and tuples hold: parts, each of the whole batch, or one element per sample."""


class AmbiguousShapes(RuntimeError):
    """Shapes do not tell whether a list holds samples or parts."""


class Kind(Enum):
    """How a value is split, for a given batch size."""

    WRONG = 0
    """It does not fit this batch size."""
    PLAIN = 1
    """It has no batch dimension: each slice gets it unchanged."""
    CUT = 2
    """A tensor that is split, or a container of such tensors."""
    SAMPLES = 3
    """A list of samples."""
    EITHER = 4
    """A list of samples, or of parts that are split."""


def batch_size_of(given: Mapping[Any, Any], lists: Lists | None = None) -> int:
    """Return B, the batch size that all of `given` agrees on.

    Arguments:
        given: the criterion's arguments, by position or name.
        lists: what lists hold, if shapes do not determine it.

    Raises:
        RuntimeError: there is no such number.
        AmbiguousShapes: there is more than one.
    """
    outside = set(_first_dimensions(given, of_lists=False))
    if len(outside) > 1:
        raise RuntimeError(
            "chunked() splits tensors along their first dimension, but the given ones have "
            f"different sizes there: {_described(given)}. {_ADVICE}"
        )
    if outside:
        fitting = [size for size in outside if _fits(given, size)]
    else:
        inside = set(_first_dimensions(given, of_lists=True))
        lengths = {len(each) for each in _outermost_lists(given)}
        fitting = [size for size in inside | lengths if _fits(given, size)]
        if len(fitting) > 1 and lists is not None:
            allowed = inside if lists == "parts" else lengths
            fitting = [size for size in fitting if size in allowed]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        sizes = " or ".join(map(str, sorted(fitting)))
        raise AmbiguousShapes(
            f"chunked() cannot tell whether this is a batch of {sizes} samples: "
            f"{_described(given)}. {_SAY_LISTS}"
        )
    raise RuntimeError(
        "chunked() cannot tell the batch size, because the arguments do not agree on it: "
        f"{_described(given)}. {_ADVICE}"
    )


def cut(value: Any, batch_size: int, size: int, lists: Lists | None = None) -> list[Any]:
    """Return slices of `size` samples; the last one may have fewer.

    Arguments:
        value: the value to split; it must fit the batch size.
        batch_size: B.
        size: s.
        lists: what lists hold, if shapes do not determine it.

    Raises:
        AmbiguousShapes: a list may hold samples or parts, and `lists` is `None`.
    """
    kind = kind_of(value, batch_size)
    starts = range(0, batch_size, size)
    if kind == Kind.PLAIN:
        return [value] * len(starts)
    if isinstance(value, Tensor):
        return list(torch.split(value, size))
    if kind == Kind.EITHER and lists is None:
        raise AmbiguousShapes(
            f"chunked() cannot tell whether {_described(value)} is a list of {batch_size} samples, "
            f"or a list of parts with {batch_size} samples each. {_SAY_LISTS}"
        )
    is_samples = kind == Kind.SAMPLES or (kind == Kind.EITHER and lists == "samples")
    if isinstance(value, np.ndarray) or is_samples:
        return [value[start : start + size] for start in starts]
    parts = parts_of(value)
    columns = [cut(part, batch_size, size, lists) for part in parts.values()]
    return [
        with_parts(value, dict(zip(parts, each, strict=True)))
        for each in zip(*columns, strict=True)
    ]


def kind_of(value: Any, batch_size: int) -> Kind:
    """Return how a value is split, for this batch size."""
    if isinstance(value, (Tensor, np.ndarray)):
        if value.ndim == 0:
            return Kind.PLAIN
        return Kind.CUT if value.shape[0] == batch_size else Kind.WRONG
    parts = parts_of(value)
    if not parts:
        return Kind.PLAIN
    kinds = {kind_of(part, batch_size) for part in parts.values()}
    if Kind.WRONG in kinds:
        together = Kind.WRONG
    else:
        together = Kind.PLAIN if kinds == {Kind.PLAIN} else Kind.CUT
    if not _is_list(value):
        return together
    if len(value) == batch_size:
        return Kind.EITHER if together == Kind.CUT else Kind.SAMPLES
    is_plain = together == Kind.PLAIN and any(part is not None for part in value)
    return Kind.WRONG if is_plain else together


def _fits(given: Mapping[Any, Any], size: int) -> bool:
    return size > 0 and kind_of(given, size) not in (Kind.WRONG, Kind.PLAIN)


def _is_list(value: Any) -> bool:
    """Whether a value may be a list of samples: a list or tuple whose elements have no names."""
    if not isinstance(value, (list, tuple)) or isinstance(value, torch.Size):
        return False
    return not hasattr(value, "_fields")


def _first_dimensions(value: Any, *, of_lists: bool) -> Iterator[int]:
    """Yield the first dimensions of the tensors in a value, with or without those in lists."""
    if isinstance(value, (Tensor, np.ndarray)):
        if value.ndim > 0:
            yield int(value.shape[0])
    elif of_lists or not _is_list(value):
        for part in parts_of(value).values():
            yield from _first_dimensions(part, of_lists=of_lists)


def _outermost_lists(value: Any) -> Iterator[Any]:
    if _is_list(value):
        yield value
    elif not isinstance(value, (Tensor, np.ndarray)):
        for part in parts_of(value).values():
            yield from _outermost_lists(part)


def _described(value: Any) -> str:
    """Return a short description of the shapes in a value."""
    if isinstance(value, (Tensor, np.ndarray)):
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    parts = parts_of(value)
    if not parts:
        return f"a {type(value).__name__}"
    if _is_list(value):
        elements = _listed([_described(part) for part in value])
        return f"a {type(value).__name__} of {len(value)} ({elements})"
    return _listed([f"{name}: {_described(part)}" for name, part in parts.items()])


def _listed(descriptions: Iterable[str], most: int = 4) -> str:
    every = list(descriptions)
    return ", ".join(every[:most] + (["…"] if len(every) > most else []))


_ADVICE = (
    "Each argument must have the batch size as its first dimension or, if it is a list, as its "
    "length. Bind arguments that do not belong to the batch to the criterion: "
    "functools.partial(criterion, weight=weight)"
)

_SAY_LISTS = (
    'Tell it: chunked(..., lists="parts") if each element of a list or tuple is a tensor of the '
    'whole batch, chunked(..., lists="samples") if each element is one sample'
)
