"""Argument checks with uniform messages: the argument, the given value, the allowed values."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import IterableDataset


def check_share(
    name: str, value: float, allowed: Literal["[0, 1)", "[0, 1]", "(0, 1]"] = "[0, 1)"
) -> float:
    """Return `value` as a float if it is a share in the interval `allowed`.

    Raises `TypeError` if it is not a real number and `ValueError` if it lies outside.
    """
    share = _number(name, value)
    inside = 0.0 < share < 1.0  # NaN fails every comparison
    if not (inside or (share == 0.0 and "[0" in allowed) or (share == 1.0 and "1]" in allowed)):
        is_percent = 1 < share <= 100
        hint = f". Give a share: {share / 100:g} for {share:g}%" if is_percent else ""
        raise ValueError(f"{name} must be in {allowed}, but {value!r} was given{hint}")
    return share


def check_number(name: str, value: float, *, minimum: float = -math.inf) -> float:
    """Return `value` as a float if it is a finite number of at least `minimum`.

    Raises `TypeError` if it is not a real number and `ValueError` if it is another one.
    """
    number = _number(name, value)
    if not math.isfinite(number) or number < minimum:
        allowed = "finite" if minimum == -math.inf else f"finite and at least {minimum}"
        raise ValueError(f"{name} must be {allowed}, but {value!r} was given")
    return number


def check_between(name: str, value: float, low: float, high: float) -> float:
    """Return `value` as a float if it is above `low` and below `high`.

    Raises `TypeError` if it is not a real number and `ValueError` if it lies outside.
    """
    number = _number(name, value)
    if not low < number < high:
        raise ValueError(f"{name} must be in ({low}, {high}), but {value!r} was given")
    return number


def _number(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"{name} must be a number, but {value!r} ({type(value).__name__}) was given"
        )
    try:
        return float(value)
    except OverflowError:  # an integer beyond the range of floats
        return math.inf if value > 0 else -math.inf


def check_integer(name: str, value: int, *, minimum: int) -> int:
    """Return `value` as an int if it is an integer of at least `minimum`.

    Raises `TypeError` if it is not an integer and `ValueError` if it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(
            f"{name} must be an integer, but {value!r} ({type(value).__name__}) was given"
        )
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, but {value!r} was given")
    return int(value)


def check_either(name: str, value: object, other: str, instead: object) -> None:
    """Check that at most one of two arguments is given.

    Raises:
        ValueError: both are given.
    """
    if value is not None and instead is not None:
        raise ValueError(
            f"give {name} or {other}, not both: {name}={value!r} and {other}={instead!r} were given"
        )


def check_map_style(dataset: Any) -> int:
    """Return the number of samples of a map-style dataset.

    Raises `TypeError` if it has no `__getitem__` or no length, `ValueError` if it is empty.
    """
    is_stream = isinstance(dataset, IterableDataset)
    if is_stream or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise TypeError(
            f"dataset must be map-style, with __getitem__ and __len__, but a "
            f"{type(dataset).__name__} was given. Samples are pruned by their index; those of a "
            "stream by a key: give PrunedIterableDataset(stream, key=...)"
        )
    try:
        length = len(dataset)
    except (TypeError, NotImplementedError) as error:
        raise TypeError(
            f"dataset must have a length, but len() of the given {type(dataset).__name__} "
            f"failed: {error}"
        ) from error
    if isinstance(dataset, Mapping) and length > 0 and 0 not in dataset:
        raise TypeError(
            f"dataset must be indexed from 0, but the given {type(dataset).__name__} has keys such "
            f"as {next(iter(dataset))!r}: give a list of its values, or one of the datasets in it"
        )
    if length == 0:
        raise ValueError(f"dataset must hold samples, but the given {type(dataset).__name__} has 0")
    return length


def check_keys(state: Any, keys: Sequence[str], what: str) -> None:
    """Check that a state is a dictionary with these keys.

    Raises:
        RuntimeError: it is not.
    """
    if not isinstance(state, dict):
        raise RuntimeError(f"{what} must be a dictionary, but a {type(state).__name__} was given")
    missing = [key for key in keys if key not in state]
    if missing:
        raise RuntimeError(
            f"{what} is incomplete, it has no {', '.join(missing)}: was it made by state_dict()?"
        )


def check_tensor(
    name: str, value: Any, shape: tuple[int | None, ...], *dtypes: torch.dtype
) -> Tensor:
    """Return a tensor of a state on the host, detached.

    Arguments:
        name: its name in the message.
        value: the tensor, on any device. The result may share its memory.
        shape: the required shape; `None` is any length.
        dtypes: the allowed types.

    Raises:
        RuntimeError: it is no tensor, or has another shape or type, or its elements are not in
            memory, as those of sparse tensors and on the device `meta`.
    """
    if (
        has_elements(value)
        and len(value.shape) == len(shape)
        and all(right in (None, given) for given, right in zip(value.shape, shape, strict=True))
        and value.dtype in dtypes
    ):
        tensor: Tensor = value.detach().cpu()
        return tensor
    wanted = "(" + ", ".join("any" if each is None else str(each) for each in shape)
    wanted += ",)" if len(shape) == 1 else ")"
    types = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    raise RuntimeError(
        f"the state is damaged: its {name} must be a tensor of shape {wanted} and type {types}, "
        f"but {_described(value)} was found"
    )


def has_elements(value: Any) -> bool:
    """Return whether a value is a tensor whose elements are all in memory, none of them shared.

    The elements of sparse and `meta` tensors are not in memory. In an expanded tensor, a few bytes
    of a file can claim to be any number of elements.
    """
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type != "meta"
        and not (value.is_quantized or value.is_nested)
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    kind = str(value.dtype).removeprefix("torch.")
    where = "" if has_elements(value) else ", whose elements are not in memory,"
    return f"one of shape {tuple(value.shape)} and type {kind}{where}"


def check_count(name: str, value: Any) -> int:
    """Return a count of a state, an integer from 0 to 2⁶³ − 1.

    Raises:
        RuntimeError: it is not such an integer.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise RuntimeError(
            f"the state is damaged: its {name} must be an integer of at least 0, but "
            f"{shown(value)} was found"
        )
    return value


def check_finite(name: str, value: Any, *, minimum: float = -math.inf) -> float:
    """Return a number of a state as a float.

    Raises:
        RuntimeError: it is not a number, not finite, or below `minimum`.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # an integer may be too large for a float
    if is_number and abs(value) <= sys.float_info.max and value >= minimum:
        return float(value)
    at_least = "" if minimum == -math.inf else f" of at least {minimum:g}"
    raise RuntimeError(
        f"the state is damaged: its {name} must be a finite number{at_least}, but {shown(value)} "
        "was found"
    )


def shown(value: Any) -> str:
    """Return a value of a state for a message, as it is if it is plain and short."""
    is_short = isinstance(value, str) and len(value) <= 100
    if is_short or isinstance(value, float):
        return repr(value)
    if isinstance(value, int):  # repr() raises for very long ones
        return repr(value) if abs(value) < 2**64 else "an integer of more than 64 bits"
    return f"a {type(value).__name__}"
