"""Training loops that go on call by call, and interrupts before any line of ours in a call."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from helpers import Numbers, mean_loss, sample_losses
from streams import Stored, stream_of
from torch import Tensor

import dynaprune
from dynaprune import BLS, DataLoader, InfoBatch, KalmanBLS, PrunedDataset, TrimmedLoss

SOURCE = str(Path(dynaprune.__file__).parent)


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
