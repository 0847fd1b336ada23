"""Ctrl-C at every line of ours: the state is one with the step or without it, and both go on.

So is the state that the handler of a signal asks for at any line.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
from interrupted_loops import (
    CASES,
    PACKING,
    SCRIPTS,
    Case,
    Lines,
    Loop,
    Script,
    before_end,
    essence,
    in_the_middle,
)

from dynaprune.tracking.recording.reader import read_epochs, read_recording

# an interrupt between open() and the `with` that closes it leaves that to the garbage collector
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


class Expected:
    """What comes of a script that nothing interrupts."""

    def __init__(self, case: Case, script: Script, tmp: Path) -> None:
        before, action = script
        folders = (tmp / f"expected {number}" if case.records else None for number in count())
        loop = Loop(case, next(folders))
        before(loop)
        states = [essence(loop.state())]
        loop = Loop(case, next(folders))  # anew: the look at a state has folded
        before(loop)
        lines = Lines()
        lines.run(lambda: action(loop))
        self.count = lines.count
        states.append(essence(loop.state()))
        self.states = states
        self.is_update = action in (Loop.update, Loop.update_said)
        self.may_go_on = self.is_update or before in (in_the_middle, before_end)
        self.may_go_on &= action is not Loop.fetch  # which an interrupt ends for good
        self.gone_on: dict[str, Any] | None = None
        if self.may_go_on:
            loop = Loop(case, next(folders))
            before(loop)
            action(loop)
            loop.go_on()
            self.gone_on = essence(loop.state())
        self.runs: dict[int, tuple[list[list[int]], dict[str, Any]]] = {}
        # what a new loop serves after each of the two states, and what it comes to
        for place, _ in enumerate(states):
            loop = Loop(case, next(folders))
            before(loop)
            if place == 1:
                action(loop)
            other = Loop(case, next(folders))
            other.train.load_state_dict(loop.state())
            other.whole()
            self.runs[place] = other.served, essence(other.state())


def check_interrupted(case: Case, script: Script, at: int, expected: Expected, tmp: Path) -> None:
    """Interrupt the script at a line, and go on in one of several ways."""
    before, action = script
    folder = tmp / str(at) if case.records else None
    loop = Loop(case, folder)
    before(loop)
    lines = Lines(at)
    lines.run(lambda: action(loop))
    assert lines.is_interrupted
    way = at % 4 if expected.may_go_on else at % 3
    if way == 3:  # the same iterator goes on, without a look at the state
        has_counted = len(loop.train.epochs.record) == len(loop.served) + 1
        if expected.is_update and not has_counted:
            action(loop)
        elif expected.is_update:
            with pytest.raises(RuntimeError, match="twice|after the last batch|no batch of"):
                action(loop)
        loop.go_on()
        assert essence(loop.state()) == expected.gone_on
        return
    state = loop.state()
    found = essence(state)
    assert found in expected.states
    place = expected.states.index(found)
    if way == 2 and loop.train.epochs.record and state["progress"]["visits"] > 0:
        # a new loop in the same object: the epoch was left
        epoch = loop.train.epoch
        loop.leave()
        loop.whole()
        assert loop.train.epoch == epoch + 2
        samples = [sample for batch in loop.served for sample in batch]
        assert len(samples) == len(set(samples))
        if not loop.train.is_stream:
            assert sorted(samples) == sorted(loop.planned)
        return
    other = loop if way == 0 else Loop(case, folder)
    other.leave()
    other.train.load_state_dict(state)
    other.whole()
    served, after = expected.runs[place]
    assert other.served == served
    assert essence(other.state()) == after
    if folder is not None:
        check_recording(folder, after["totals"]["visits_made"])


def check_handled(case: Case, script: Script, at: int, expected: Expected, tmp: Path) -> None:
    """Ask for the state at a line, which changes nothing."""
    before, action = script
    folder = tmp / f"handled {at}" if case.records else None
    loop = Loop(case, folder)
    before(loop)
    states: list[dict[str, Any]] = []
    Lines(at, lambda: states.append(loop.state())).run(lambda: action(loop))
    assert [essence(state) in expected.states for state in states] == [True]
    after = loop.state()
    assert essence(after) == expected.states[1]
    other = Loop(case, folder)
    other.train.load_state_dict(after)
    other.whole()
    assert essence(other.state()) == expected.runs[1][1]
    if folder is not None:
        check_recording(folder, other.train.summary().visits_made)


def check_recording(folder: Path, visits: int) -> None:
    """Each epoch is there once."""
    epochs = read_epochs(folder)
    assert [each.number for each in epochs] == list(range(len(epochs)))
    assert sum(each.visits for each in epochs) == visits
    assert sum(each.indices.numel() for each in read_recording(folder)) == visits


EVERY = [(case, script) for case in CASES for script in SCRIPTS if case != "one by one"]
EVERY += [("one by one", script) for script in PACKING]


@pytest.mark.parametrize(("case", "script"), EVERY)
def test_interrupted_at_some_lines(case, script, tmp_path):
    interrupt(case, script, tmp_path, most=4)


@pytest.mark.long
@pytest.mark.parametrize(("case", "script"), EVERY)
def test_interrupted_at_every_line(case, script, tmp_path):
    """Of updates and folds; in the other cases, and where a state is made, at many lines."""
    is_whole = case == "mean losses" and not script.startswith("state")
    interrupt(case, script, tmp_path, most=None if is_whole else 30)


def interrupt(case: str, script: str, folder: Path, most: int | None) -> None:
    """Interrupt it once at each line, or at so many that differ from case to case."""
    actions = (SCRIPTS | PACKING)[script]
    expected = Expected(CASES[case], actions, folder)
    step = 1 if most is None else 1 + expected.count // most
    first = 1 + sum(map(ord, case + script)) % step
    for at in range(first, expected.count + 1, step):
        check_interrupted(CASES[case], actions, at, expected, folder)
        check_handled(CASES[case], actions, at, expected, folder)
