"""Writing down what a run measures, epoch by epoch."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..batches import Batches
from ..checkpoint import whole_file
from ..settings import plain
from ..versions import __version__
from .epoch import RecordedEpoch, curve_of, mean_loss_of, quantiles_of
from .files import (
    EPOCHS,
    RUN,
    SAMPLES,
    losses_file,
    losses_files,
    pack_losses,
)
from .reading import epoch_lines, read_run

if TYPE_CHECKING:
    from ..keys import KeyTable
    from ..scores import Score

SAME = ("method", "score", "seed", "dataset", "dataset_length")
"""What the epochs of one run have in common."""

NONE = -2
"""The number of no epoch, nor of the one before the first."""


@dataclass(frozen=True)
class Course:
    """How an epoch went, beside what it has measured.

    Attributes:
        kept: samples that its plan served.
        visits: sample visits that were made.
        seconds: wall-clock seconds that it took.
        planning_seconds: seconds that all planning has taken so far.
        losses_left_out: losses that were not finite.
        ranks: processes that made these visits together.
    """

    kept: int
    visits: int
    seconds: float
    planning_seconds: float
    losses_left_out: int
    ranks: int


class Recorder:
    """Writes each epoch that is over: its facts, its losses, and the state of all samples.

    Arguments:
        directory: made if it is not there.
        facts: what `run.json` says of the run, besides its score and its number of samples.
        max_bytes: that the losses may take; the oldest ones are removed.
        optimizer: whose learning rate is taken down, if any.

    Raises:
        OSError: the directory cannot be made.
    """

    def __init__(
        self, directory: Path, facts: Mapping[str, Any], max_bytes: int, optimizer: Any = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._facts = facts
        self._max_bytes = max_bytes
        self._optimizer = optimizer
        self._rates: list[float] = []
        self._planned_before = 0.0
        self._seconds = 0.0
        self._last = NONE  # the epoch that was written last; what is there of one after it is torn
        self._sizes: dict[int, int] = {}  # bytes of the losses of epochs

    @property
    def has_written(self) -> bool:
        """Whether an epoch was written by this process."""
        return self._last >= 0

    def start(self, planning_seconds: float) -> None:
        """Go on from here: what was noted of an epoch in progress is of another run.

        Arguments:
            planning_seconds: that all planning has taken so far.
        """
        self._rates, self._planned_before = [], planning_seconds

    def note_step(self) -> None:
        """Take down the learning rate of a step. One on a device is not read: that would wait."""
        if self._optimizer is not None:
            rate = self._optimizer.param_groups[0]["lr"]
            if not isinstance(rate, Tensor) or rate.device.type == "cpu":
                self._rates.append(float(rate))

    def write(self, number: int, batches: Batches, score: Score, course: Course) -> None:
        """Write what epoch `number` has come to, and remove later ones, which are to be repeated.

        Raises:
            OSError: a file cannot be written; the message names it.
            RuntimeError: the directory holds the recording of another run.
        """
        started = time.perf_counter()
        path = losses_file(self.directory, number)
        values = score.values().numpy()
        counted = score.visits()
        assert counted is not None  # since the recording was begun
        visits, counted_epochs = counted
        epoch = self._epoch(number, batches, values, score.reliability, course, counted_epochs)
        before, self._last = self._last, NONE  # until all is there: Ctrl-C may come in between
        try:
            if before == NONE:
                self._write_run(score)
            if number != before + 1:  # the first one here, or the run has gone back
                self._go_back_to(number)
            with whole_file(path, sync=False) as file:
                pack_losses(file, batches)
            with (self.directory / EPOCHS).open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(epoch.to_json(), allow_nan=False) + "\n")
            with whole_file(self.directory / SAMPLES, sync=False) as file:
                np.save(file, _samples(values, visits, score.keys))
            self._make_room(number)
        except OSError as error:
            raise OSError(
                f"epoch {number} cannot be recorded in {path}: {error}. Make room for it or give "
                "train.record() another directory, and go on from the last checkpoint"
            ) from error
        self._last = number
        self._rates = []
        self._planned_before = course.planning_seconds
        self._seconds = time.perf_counter() - started

    def _write_run(self, score: Score) -> None:
        run = {
            **self._facts,
            "score": type(score).__name__,
            "num_samples": score.num_samples,
            "settings": {**self._facts.get("settings", {}), **plain(score)},
        }
        self.check_run(run)
        with whole_file(self.directory / RUN, sync=False) as file:
            file.write(json.dumps({**run, "version": __version__}, indent=2).encode())

    def check_run(self, run: Mapping[str, Any]) -> None:
        """Make sure that epochs which are there already are of the same run.

        Raises:
            RuntimeError: they are not.
        """
        if not (self.directory / RUN).exists():
            return
        before = read_run(self.directory)
        differing = [name for name in SAME if name in run and before.get(name) != run[name]]
        if differing:
            said = ", ".join(
                f"{name} {before.get(name)!r}, not {run[name]!r}" for name in differing
            )
            raise RuntimeError(
                f"{self.directory} holds the recording of another run ({said}): give "
                "train.record() a directory of its own"
            )

    def _epoch(
        self,
        number: int,
        batches: Batches,
        values: NDArray[np.float32],
        reliability: float,
        course: Course,
        counted_epochs: int,
    ) -> RecordedEpoch:
        visits, losses, rates = curve_of(batches, self._rates, course.ranks)
        return RecordedEpoch(
            number=number,
            num_samples=values.size,
            kept=course.kept,
            visits=course.visits,
            seconds=course.seconds,
            planning_seconds=course.planning_seconds - self._planned_before,
            recording_seconds=self._seconds,
            losses_left_out=course.losses_left_out,
            mean_loss=mean_loss_of(batches),
            curve_visits=visits,
            curve_losses=losses,
            curve_rates=rates,
            quantiles=quantiles_of(values),
            reliability=reliability,
            counted_epochs=counted_epochs,
        )

    def _go_back_to(self, number: int) -> None:
        """Remove what is there of epoch `number` and later ones, which are to be repeated."""
        for torn in self.directory.glob(".*.[0-9]*"):  # of a process that was killed
            torn.unlink()
        files = losses_files(self.directory)
        for later in [each for each in files if each >= number]:
            files.pop(later).unlink()
        self._sizes = {each: path.stat().st_size for each, path in files.items()}
        before = [line for each, line in epoch_lines(self.directory) if each < number]
        with whole_file(self.directory / EPOCHS, sync=False) as file:
            file.write("".join(f"{line}\n" for line in before).encode())

    def _make_room(self, number: int) -> None:
        """Remove the losses of the oldest epochs if all are too large."""
        self._sizes[number] = losses_file(self.directory, number).stat().st_size
        total = sum(self._sizes.values())
        while total > self._max_bytes and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            losses_file(self.directory, oldest).unlink()
            total -= self._sizes.pop(oldest)


def _samples(
    values: NDArray[np.float32], visits: NDArray[np.int32], keys: KeyTable | None
) -> NDArray[Any]:
    """Return the state of all samples: an array of records, shape (N,)."""
    columns: dict[str, NDArray[Any]] = {"score": values, "visits": visits}
    if keys is not None:
        columns["key"] = keys.fingerprints
    kinds = [(name, column.dtype) for name, column in columns.items()]
    records = np.empty(values.size, dtype=np.dtype(kinds))
    for name, column in columns.items():
        records[name] = column
    return records
