"""Checks of arguments, alike everywhere: name the argument, what was given, what is allowed."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, Literal

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
        raise ValueError(f"{name} must be in {allowed}, but {value!r} was given")
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
    return float(value)


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
    """Check that not both of two arguments are given.

    Raises:
        ValueError: both are.
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


def check_shape(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Check a tensor of a state.

    Raises:
        RuntimeError: it is none, or of another shape.
    """
    if not isinstance(value, Tensor) or value.shape != shape:
        given = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise RuntimeError(
            f"the state is damaged: its {name} must be a tensor of shape {shape}, but {given} was "
            "found"
        )


def count_share(share: float, total: int) -> int:
    """Return `share` of `total`, rounded as Python rounds, to a whole number in [0, total]."""
    return min(total, max(0, round(share * total)))


def count_share_of_epoch(share: float, total: int, epoch: int) -> int:
    """Return how many of `total` samples are an epoch's part of `share` of all visits of a run.

    What rounding takes from one epoch, another gets.
    """
    return count_share(share, total * (epoch + 1)) - count_share(share, total * epoch)
