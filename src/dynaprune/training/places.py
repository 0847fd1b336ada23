"""Who asks a loader for batches: the functions that run then, without keeping them alive."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from inspect import CO_GENERATOR
from types import CodeType, FrameType
from typing import Any, NamedTuple


class Place(NamedTuple):
    """Where a function was, without keeping it or its variables alive."""

    frame: int
    code: CodeType
    instruction: int


def _frames(innermost: FrameType | None) -> Iterator[FrameType]:
    while innermost is not None:
        yield innermost
        innermost = innermost.f_back


def places_from(innermost: FrameType) -> Iterator[Place]:
    """Yield where a function is, and those that have called it, the innermost one first."""
    for frame in _frames(innermost):
        yield Place(id(frame), frame.f_code, frame.f_lasti)


def depth_of(places: Sequence[Place]) -> int:
    """Return how many calls lie between here and the innermost of these functions that is running.

    Very many if none of them is.
    """
    running = {(place.frame, place.code) for place in places}
    for depth, frame in enumerate(_frames(sys._getframe(1))):
        if (id(frame), frame.f_code) in running:
            return depth
    return sys.maxsize


def manner_of(places: Sequence[Place]) -> tuple[Any, ...]:
    """Return where in the code a pass was asked for: in the loop, and generators before it."""
    inner = next((n for n, each in enumerate(places) if not _is_generator(each)), len(places))
    return tuple((each.code, each.instruction) for each in places[: inner + 1])


def _is_generator(place: Place) -> bool:
    return bool(place.code.co_flags & CO_GENERATOR)


def is_behind_loop(places: Sequence[Place], frame: FrameType) -> bool:
    """Whether the function that has run a loop is now behind it.

    Arguments:
        places: of the functions that asked for the first batch of a pass, the innermost one first.
        frame: of the function that is running.
    """
    # generators between the loop and the loader, as those of progress bars, run none of their own
    of_loop = next((each for each in places if not _is_generator(each)), None)
    if of_loop is None or (id(frame), frame.f_code) != of_loop[:2]:
        return False
    return frame.f_lasti > of_loop.instruction
