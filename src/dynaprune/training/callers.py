"""Which functions ask a loader for batches, without keeping them or their variables alive."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from inspect import CO_GENERATOR
from types import CodeType, FrameType
from typing import NamedTuple, TypeAlias


class Caller(NamedTuple):
    """A function that was running, and the instruction that it was at.

    Attributes:
        frame: the `id` of its frame.
        code: its code.
        instruction: the position in the code.
    """

    frame: int
    code: CodeType
    instruction: int


CallSite: TypeAlias = tuple[tuple[CodeType, int], ...]
"""Where in the code a batch is asked for: in the loop, after the generators that it runs over."""


def callers_from(innermost: FrameType) -> Iterator[Caller]:
    """Yield a function and those that have called it, the innermost one first."""
    for frame in _frames(innermost):
        yield Caller(id(frame), frame.f_code, frame.f_lasti)


def distance_to(callers: Sequence[Caller]) -> int:
    """Return how many calls lie between here and the innermost of these that is still running.

    `sys.maxsize` if none of them is.
    """
    wanted = {(each.frame, each.code) for each in callers}
    for distance, frame in enumerate(_frames(sys._getframe(1))):
        if (id(frame), frame.f_code) in wanted:
            return distance
    return sys.maxsize


def is_running(callers: Sequence[Caller]) -> bool:
    """Whether the innermost of these functions is still running."""
    return distance_to(callers[:1]) < sys.maxsize


def call_site_of(callers: Sequence[Caller]) -> CallSite:
    """Return where in the code these functions, the innermost one first, have asked for a batch."""
    loop = next((n for n, each in enumerate(callers) if not _is_generator(each)), len(callers))
    return tuple((each.code, each.instruction) for each in callers[: loop + 1])


def is_after_loop(callers: Sequence[Caller], frame: FrameType) -> bool:
    """Whether the function that has run a loop has now left it.

    Arguments:
        callers: the functions that asked for the first batch of a pass, the innermost one first.
        frame: of the function that is running.
    """
    # generators between the loop and the loader, such as those of progress bars, have no loop
    # of the user's
    loop = next((each for each in callers if not _is_generator(each)), None)
    if loop is None or (id(frame), frame.f_code) != loop[:2]:
        return False
    return frame.f_lasti > loop.instruction


def _frames(innermost: FrameType | None) -> Iterator[FrameType]:
    while innermost is not None:
        yield innermost
        innermost = innermost.f_back


def _is_generator(caller: Caller) -> bool:
    return bool(caller.code.co_flags & CO_GENERATOR)
