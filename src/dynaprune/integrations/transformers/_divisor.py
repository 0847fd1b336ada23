"""Whether a loss was divided by a number, read from its autograd graph.

A second forward pass with another number would also say so, but costs time and would run the
user's code twice.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

MOST_NODES = 256
"""The most nodes that are visited: a loss is a few operations on the losses of its labels."""

TOLERANCE = 0.005
"""Relative tolerance of comparisons: bfloat16 has eight significant bits."""


def are_close(one: float, other: float) -> bool:
    """Whether two numbers are equal within the precision of any float type."""
    return math.isclose(one, other, rel_tol=TOLERANCE)


def is_divided_by(loss: Tensor, number: float, num_labels: int) -> bool:
    """Return whether a loss, or the losses of its labels, were divided by `number`.

    The graph is followed backwards from the loss, but not into the model, which has divisions of
    its own: a node with more elements than there are labels is no longer part of the loss. A
    compiled model is one node, which saves its divisors.

    Arguments:
        loss: shape (), before `backward`.
        number: the possible divisor.
        num_labels: the number of labels in the loss.
    """
    waiting: deque[tuple[Any, int]] = deque([(loss.grad_fn, loss.output_nr)])
    seen: set[Any] = set()
    while waiting and len(seen) < MOST_NODES:
        node, output = waiting.popleft()
        if node is None or node in seen or _size(node, output) > max(1, num_labels):
            continue
        seen.add(node)
        if any(are_close(each, number) for each in _divisors(node)):
            return True
        waiting += node.next_functions
    return False


def _size(node: Any, output: int) -> int:
    """Return the number of elements of an output of an operation."""
    return math.prod(node._input_metadata[output].shape)


def _divisors(node: Any) -> Iterator[float]:
    """Yield the possible divisors of an operation, among the values it has saved for `backward`.

    A product with a Python number does not count: it weights a part of the loss.
    """
    if node.name() == "DivBackward0":
        kept = [node._saved_other]
    elif node.name() == "MulBackward0":
        factor = node._saved_other
        is_plain = factor is None or factor.dtype == torch.float64  # torch's form of Python numbers
        kept = [] if is_plain or factor.numel() != 1 else [1 / factor]
    else:  # a Python function
        kept = [*getattr(node, "saved_tensors", ()), *getattr(node, "__dict__", {}).values()]
        numbers = (float(each) for each in kept if _is_number(each))
        kept = [each for number in numbers for each in (number, 1 / number if number else 0.0)]
    yield from (float(each) for each in kept if _is_number(each))


def _is_number(kept: Any) -> bool:
    return isinstance(kept, (int, float)) or (isinstance(kept, Tensor) and kept.numel() == 1)
