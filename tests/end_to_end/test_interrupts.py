"""Ctrl-C at every line of ours: the state is one with the step or without it, and both go on.

So is the state that the handler of a signal asks for at any line.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Numbers, mean_loss, sample_losses
from streams import Stored, stream_of
from torch import Tensor

import dynaprune
from dynaprune import BLS, DataLoader, InfoBatch, KalmanBLS, PrunedDataset, TrimmedLoss
from dynaprune.tracking.recording.reader import read_epochs, read_recording

SOURCE = str(Path(dynaprune.__file__).parent)
# an interrupt between open() and the `with` that closes it leaves that to the garbage collector
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def interrupted() -> None:
    raise KeyboardInterrupt


class Lines:
    """Counts the lines of ours that a call runs, and interrupts it before one of them.

    Arguments:
        at: the number of that line, from 1; 0 for none.
        handler: what is called there; by default Ctrl-C is raised.
    """

    def __init__(self, at: int = 0, handler: Callable[[], object] = interrupted) -> None:
        self.at, self.handler = at, handler
        self.count, self.is_interrupted = 0, False

    def run(self, call: Callable[[], object]) -> None:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            call()
        except KeyboardInterrupt:
            self.is_interrupted = True
        finally:
            sys.settrace(before)

    def _trace(self, frame: Any, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        if event == "line":
            self.count += 1
            if self.count == self.at:
                self.handler()
        return self._trace


def slice_losses(batch: Tensor) -> Tensor:
    return torch.stack([mean_loss(part) for part in batch.chunk(2)])


def indexed(length: int) -> Any:
    return Numbers(length)


def streamed(length: int) -> Any:
    return stream_of(Stored(length))


def bls_info_batch(dataset: Any) -> PrunedDataset:
    train: PrunedDataset = BLS(InfoBatch(dataset, 6)).proxy()
    return train


def kalman_info_batch(dataset: Any) -> PrunedDataset:
    train: PrunedDataset = KalmanBLS(InfoBatch(dataset, 6)).proxy()
    return train


def trimmed_loss(dataset: Any) -> PrunedDataset:
    train: PrunedDataset = BLS(TrimmedLoss(dataset, 6, trim=0.3, start=0.0)).proxy()
    return train


@dataclass
class Case:
    """What is trained."""

    make: Callable[[Any], PrunedDataset] = bls_info_batch
    dataset: Callable[[int], Any] = indexed
    loss: Callable[[Tensor], Tensor] = mean_loss
    length: int = 22
    size: int = 4
    records: bool = False


CASES = {
    "mean losses": Case(),
    "loss vectors": Case(loss=sample_losses),
    "slices": Case(loss=slice_losses),
    "per-sample InfoBatch": Case(make=lambda dataset: InfoBatch(dataset, 6), loss=sample_losses),
    "KalmanBLS": Case(make=kalman_info_batch),
    "TrimmedLoss": Case(make=trimmed_loss),
    "stream": Case(dataset=streamed),
    "recorded": Case(records=True),
    "one by one": Case(length=80, size=1),
}


class Loop:
    """A training loop, one call after the other."""

    def __init__(self, case: Case, folder: Path | None = None) -> None:
        self.case = case
        self.train = case.make(case.dataset(case.length))
        if folder is not None:
            self.train.record(folder)
        self.loader = DataLoader(self.train, batch_size=case.size)
        self.batches: Iterator[Tensor] = iter(())
        self.batch: Tensor | None = None
        self.served: list[list[int]] = []  # in the epoch so far
        self.planned: list[int] = []

    def begin(self) -> None:
        self.served = []
        self.batches = iter(self.loader)
        self.fetch()
        current = self.train.epochs.passes.open_pass()
        self.planned = [] if current is None else current.plan.order.tolist()

    def fetch(self) -> None:
        self.batch = next(self.batches, None)

    def update(self) -> None:
        assert self.batch is not None
        self.train.update(self.case.loss(self.batch))
        self.served.append(self.batch.tolist())

    def update_said(self) -> None:
        assert self.batch is not None
        self.train.update(self.case.loss(self.batch), batch=self.batch)
        self.served.append(self.batch.tolist())

    def leave(self) -> None:
        self.batches, self.batch = iter(()), None

    def state(self) -> dict[str, Any]:
        file = io.BytesIO()
        torch.save(self.train.state_dict(), file)
        file.seek(0)
        loaded: dict[str, Any] = torch.load(file, weights_only=True)
        return loaded

    def look_at_state(self) -> None:
        self.train.state_dict()

    def go_on(self) -> None:
        """Train what the iterator still has."""
        self.fetch()
        while self.batch is not None:
            self.update()
            self.fetch()

    def whole(self) -> None:
        """Run a new loop to its end."""
        self.begin()
        while self.batch is not None:
            self.update()
            self.fetch()

    def steps(self, count: int) -> None:
        """Begin an epoch, train some steps, and fetch the batch of the next one."""
        self.begin()
        for _ in range(count):
            self.update()
            self.fetch()


def essence(state: dict[str, Any]) -> dict[str, Any]:
    """Return what a state says that does not depend on the clock."""
    progress, totals = state["progress"], state["totals"]
    return {
        "epoch": state["epoch"],
        "scores": state["score"]["values"].tolist(),
        "mean loss": state["mean_loss"].tolist(),
        "totals": {name: value for name, value in totals.items() if "seconds" not in name},
        "indices": progress["indices"].tolist(),
        "sizes": progress["sizes"].tolist(),
        "losses": progress["losses"].tolist(),
        "steps": progress["steps"].tolist(),
        "visits": progress["visits"],
        "repeats": progress["repeats"],
        "plan": progress["plan"],
    }


Script = tuple[Callable[[Loop], None], Callable[[Loop], None]]


def update_at(step: int, epoch: int = 1) -> Script:
    """An update, in an epoch with weights."""

    def before(loop: Loop) -> None:
        for _ in range(epoch):
            loop.whole()
        loop.steps(step)

    return before, Loop.update


def last_update(loop: Loop) -> None:
    loop.whole()
    loop.begin()
    for _ in range(len(loop.loader) - 1):
        loop.update()
        loop.fetch()


def before_end(loop: Loop) -> None:
    last_update(loop)
    loop.update()


def after_end(loop: Loop) -> None:
    loop.whole()
    loop.whole()


def left_early(loop: Loop) -> None:
    loop.whole()
    loop.steps(2)
    loop.leave()


def begun_after_left_early(loop: Loop) -> None:
    left_early(loop)
    loop.begin()


def begun_while_another_waits(loop: Loop) -> None:
    """The iterator that was left, and its last batch, are still there."""
    loop.whole()
    loop.steps(2)
    loop.kept = loop.batches, loop.batch  # type: ignore[attr-defined]
    loop.begin()


def in_the_middle(loop: Loop) -> None:
    loop.whole()
    loop.steps(2)


SCRIPTS: dict[str, Script] = {
    "update of the run's first batch": update_at(0, epoch=0),
    "update of an epoch's first batch": update_at(0),
    "update in the middle": update_at(2),
    "update of an epoch's last batch": (last_update, Loop.update),
    "end of an epoch": (before_end, Loop.fetch),
    "begin of an epoch": (after_end, Loop.begin),
    "begin after an epoch that was left": (left_early, Loop.begin),
    "update that ends an epoch that was left": (begun_after_left_early, Loop.update),
    "the same with its iterator alive": (begun_while_another_waits, Loop.update_said),
    "state in the middle": (in_the_middle, Loop.look_at_state),
    "state after the last update": (before_end, Loop.look_at_state),
    "state between epochs": (after_end, Loop.look_at_state),
    "state of an epoch that was left": (left_early, Loop.look_at_state),
}
PACKING = {"update that packs the ones before": update_at(64, epoch=0)}


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
