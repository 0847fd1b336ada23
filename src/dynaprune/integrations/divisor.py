"""Whether a loss was divided by a number, as its graph tells: nothing is computed again."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

from torch import Tensor

MOST_NODES = 256
"""Nodes that are looked at: a loss is a few operations on the losses of its labels."""

TOLERANCE = 0.005
"""Of what is compared: bfloat16 has eight bits."""


def are_close(one: float, other: float) -> bool:
    """Whether two numbers are the same in any float type that losses have."""
    return math.isclose(one, other, rel_tol=TOLERANCE)


def is_divided_by(loss: Tensor, number: float, num_labels: int) -> bool:
    """Return whether a loss, or the losses of its labels, were divided by `number`.

    The graph is followed from the loss backwards, but not into the model, which divides by numbers
    of its own: what has more elements than there are labels is no loss any more. A compiled model
    is one node, and has kept what it divides by.

    Arguments:
        loss: shape (), before `backward`.
        number: what it may have been divided by, or multiplied by the inverse of.
        num_labels: the number of labels that it is the loss of.
    """
    waiting: deque[tuple[Any, int]] = deque([(loss.grad_fn, loss.output_nr)])
    seen: set[Any] = set()
    while waiting and len(seen) < MOST_NODES:
        node, output = waiting.popleft()
        if node is None or node in seen or _size(node, output) > max(1, num_labels):
            continue
        seen.add(node)
        if any(are_close(each, number) or are_close(each * number, 1) for each in _numbers(node)):
            return True
        waiting += node.next_functions
    return False


def _size(node: Any, output: int) -> int:
    """Return how many elements an output of an operation has."""
    return math.prod(node._input_metadata[output].shape)


def _numbers(node: Any) -> Iterator[float]:
    """Yield the single numbers that an operation has kept for its derivative."""
    if node.name() in ("DivBackward0", "MulBackward0"):
        kept = [node._saved_other]
    else:  # those in Python
        kept = [*getattr(node, "saved_tensors", ()), *getattr(node, "__dict__", {}).values()]
    for each in kept:
        if isinstance(each, (int, float)) or (isinstance(each, Tensor) and each.numel() == 1):
            yield float(each)
