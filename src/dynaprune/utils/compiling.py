"""Code that `torch.compile` must leave alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def not_compiled(call: Callable[P, T]) -> Callable[P, T]:
    """Return `call`, run by Python with all that it calls, when compiled code calls it.

    Without it, a graph break in the middle of `call` lets torch compile the functions that it calls
    one by one, and then torch takes a CUDA stream that is live across a break for a plain
    `torch.Stream`, which has no handle.
    """
    # not a decorator: it imports torch._dynamo, which takes seconds
    disabled: Callable[P, T] = torch.compiler.disable(call)  # type: ignore[no-untyped-call]
    return disabled
