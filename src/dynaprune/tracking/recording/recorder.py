"""Writing down what a run measures, epoch by epoch."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...training.callbacks import Callback, EpochResult
from ...training.checkpoint import whole_file
from ...utils.settings import plain
from ...utils.versions import __version__
from .epoch_record import RecordedEpoch, curve_of, quantiles_of
from .files import (
    EPOCHS,
    RUN,
    SAMPLES,
    check_writable,
    is_name_of_ours,
    losses_file,
    losses_files,
    pack_losses,
    recording_of,
)
from .reader import KEYED_SAMPLE, SAMPLE, epoch_lines, read_facts

if TYPE_CHECKING:
    from ...data.keys import KeyTable
    from ...pruned_dataset import PrunedDataset
    from ...scores import Score
    from ...training.summary import Summary

SAME = ("method", "score", "seed", "dataset", "dataset_length")
"""What the epochs of one run have in common."""

FEW = 5
"""Files that are named."""

NONE = -2
"""The number of no epoch, nor of the one before the first."""


class Recorder(Callback):
    """Writes each epoch that is over: its facts, its losses, and the state of all samples.

    A recording has one writer at a time. `run.json` names it, and it looks there before each epoch
    that it writes; what follows a writer takes its place.

    Arguments:
        directory: made if it is not there.
        facts: what `run.json` says of the run, besides its score and its number of samples.
        max_bytes: that the losses may take; the oldest ones are removed.
        optimizer: whose learning rate is recorded, if any.
        is_fresh: says whether the run trains from its beginning, and does not go on from a state.
        overwrite: whether a recording that is there may be replaced by one of a fresh run, or of
            another run.

    Raises:
        OSError: the directory cannot be made.
        RuntimeError: it holds the recording of another run, or files that are of no recording but
            are called like those of one.
    """

    is_required: ClassVar[bool] = True

    def __init__(
        self,
        directory: Path,
        facts: Mapping[str, Any],
        max_bytes: int,
        optimizer: Any = None,
        *,
        is_fresh: Callable[[], bool] = lambda: False,
        overwrite: bool = False,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._facts = facts
        self._max_bytes = max_bytes
        self._optimizer = optimizer
        self._is_fresh = is_fresh
        self._overwrite = overwrite
        self._id = secrets.token_hex(8)  # of the recording, unless one is gone on with
        self._writer: tuple[str, int] | None = None  # as in run.json, and this process
        self._may_begin = False  # whether a fresh run has been found to overwrite nothing
        self._rates: list[float] = []
        self._rates_written = 0  # of these, those of the epoch that was written last
        self._planned_before = self._planned = 0.0
        self._seconds = 0.0
        self._last = NONE  # the epoch that was written last; what is there of one after it is torn
        self._content: tuple[int, ...] | None = None  # what it was
        self._sizes: dict[int, int] = {}  # bytes of the losses of epochs
        self._check_run(facts)

    @property
    def has_written(self) -> bool:
        """Whether an epoch was written by this process."""
        return self._last >= 0

    def on_attach(self, train: PrunedDataset) -> None:
        """Record the epoch in progress and all that follow."""
        train.epochs.count_visits()
        self.on_resume(train.epochs.now.totals)

    def on_resume(self, totals: Summary) -> None:
        """Go on from here: what was noted of an epoch in progress is of another run."""
        self._rates, self._rates_written = [], 0
        self._planned_before = self._planned = totals.planning_seconds
        self._content, self._may_begin = None, False

    def on_step(self) -> None:
        """Note the learning rate of a step. One on a device is not read: that would wait.

        Raises:
            RuntimeError: at the first step of a fresh run, there is a recording already.
        """
        if not self._may_begin:
            self._check_begin()
        if self._optimizer is not None:
            rate = self._optimizer.param_groups[0]["lr"]
            if not isinstance(rate, Tensor) or rate.device.type == "cpu":
                self._rates.append(float(rate))

    def on_epoch_end(self, result: EpochResult) -> None:
        """Write what an epoch has come to, and remove later ones, which are to be repeated.

        An epoch that was written already is not written again, unless more was measured in it.

        Raises:
            OSError: a file cannot be written; the message names it.
            RuntimeError: the directory holds the recording of another run, or one that a fresh run
                would overwrite, or files that are not of the recording; or another process writes
                there.
        """
        number, batches, score = result.number, result.measurements, result.score
        content = (number, result.visits, len(batches), result.losses_left_out)
        if content == self._content:
            return
        started = time.perf_counter()
        path = losses_file(self.directory, number)
        values = score.values().numpy()
        counted = score.visits()
        assert counted is not None  # since the recording was begun
        visits, counted_epochs = counted
        if number != self._last:
            del self._rates[: self._rates_written]
            self._rates_written, self._planned_before = 0, self._planned
        epoch = self._epoch(result, values, counted_epochs)
        for each in (path, *(self.directory / name for name in (RUN, SAMPLES, EPOCHS))):
            check_writable(each)
        before, self._last = self._last, NONE  # until all is there: Ctrl-C may come in between
        try:
            self._check_writer()
            if self._writer is None:
                self._begin(score)
            if number != before + 1:  # the first one here, or the run has gone back
                self._go_back_to(number)
            self._check_ours([path])
            with whole_file(path, sync=False) as file:
                pack_losses(file, batches, self._id)
            with whole_file(self.directory / SAMPLES, sync=False) as file:
                np.save(file, _samples(values, visits, score.keys))
                np.save(file, np.array([number, counted_epochs], dtype=np.int64))
            with (self.directory / EPOCHS).open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(epoch.to_json(), allow_nan=False) + "\n")
            self._make_room(number)
        except OSError as error:
            raise OSError(
                f"epoch {number} cannot be recorded in {path}: {error}. Make room for it or give "
                "train.record() another directory, and go on from the last checkpoint"
            ) from error
        self._last, self._content = number, content
        self._rates_written, self._planned = len(self._rates), result.totals.planning_seconds
        self._seconds = time.perf_counter() - started

    def _begin(self, score: Score) -> None:
        """Become the writer of the recording: of the one that is there, or of a new one."""
        run = {
            **self._facts,
            "score": type(score).__name__,
            "num_samples": score.num_samples,
            "settings": {**self._facts.get("settings", {}), **plain(score)},
        }
        before = self._check_run(run)
        self._check_begin()
        self._check_ours(losses_files(self.directory).values(), before)
        if before is not None and (self._is_fresh() or _differing(before, run)):
            self._remove_epochs()  # `overwrite` says so
        elif before is not None:
            self._id = str(before.get("id", self._id))
        writer = secrets.token_hex(8)
        facts = {**run, "version": __version__, "id": self._id, "writer": writer}
        with whole_file(self.directory / RUN, sync=False) as file:
            file.write(json.dumps(facts, indent=2).encode())
        self._writer = writer, os.getpid()

    def _check_begin(self) -> None:
        """Make sure that a fresh run overwrites no epochs, unless it may.

        Raises:
            RuntimeError: it would.
        """
        if self._writer is None and not self._overwrite and self._is_fresh():
            there = len(losses_files(self.directory)) or len(epoch_lines(self.directory))
            if there:
                raise RuntimeError(
                    f"{self.directory} holds the recording of a run (epochs: {there:,}), which this"
                    " run would overwrite, as it trains from the beginning: give train.record() "
                    "another directory, or overwrite=True to replace what is there. To go on with "
                    "that run, call load_state_dict() with a checkpoint of it"
                )
        self._may_begin = True

    def _check_writer(self) -> None:
        """Make sure that no other process has begun to write since this one has.

        Raises:
            RuntimeError: one has, or this process is a fork of the one that writes.
        """
        if self._writer is None:  # it has not begun
            return
        writer, process = self._writer
        path = self.directory / RUN
        is_writer = path.exists() and read_facts(path).get("writer") == writer
        if not is_writer or process != os.getpid():
            raise RuntimeError(
                f"another process, or another run, writes to the recording {self.directory}, or has"
                " removed it: end one of the two, or give each train.record() a directory of its "
                "own"
            )

    def _check_run(self, run: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what the `run.json` that is there says, if there is one.

        Raises:
            RuntimeError: it is of another run, and may not be replaced; or there is no recording,
                but files that are called like those of one.
        """
        path = self.directory / RUN
        if not path.exists():
            others = sorted(
                each.name for each in self.directory.iterdir() if is_name_of_ours(each.name)
            )
            if others:
                raise RuntimeError(
                    f"{self.directory} holds {', '.join(others[:FEW])}, but no {RUN} that says "
                    "that this is a recording: give train.record() a directory of its own"
                )
            return None
        before = read_facts(path)
        differing = _differing(before, run)
        if differing and not self._overwrite:
            said = ", ".join(
                f"{name} {before.get(name)!r}, not {run[name]!r}" for name in differing
            )
            raise RuntimeError(
                f"{self.directory} holds the recording of another run ({said}): give "
                "train.record() a directory of its own, or overwrite=True to replace what is there"
            )
        return before

    def _check_ours(self, paths: Iterable[Path], before: Mapping[str, Any] | None = None) -> None:
        """Make sure that files which are to be replaced or removed are of this recording.

        Arguments:
            paths: of files of losses.
            before: what `run.json` said, if this recorder has not written it.

        Raises:
            RuntimeError: one is not.
        """
        known = self._id if before is None else before.get("id")
        listed = None  # versions that have not marked their files have listed them
        for path in paths:
            if not path.exists():
                continue
            mark = recording_of(path)
            if mark == known and mark is not None:
                continue
            if listed is None:
                lines = epoch_lines(self.directory)
                listed = {losses_file(self.directory, epoch.number) for epoch, _ in lines}
            if mark is not None or path not in listed:
                raise RuntimeError(
                    f"{path} was not written by this recording, and is not replaced or removed: "
                    "move it elsewhere"
                )

    def _epoch(
        self, result: EpochResult, values: NDArray[np.float32], counted_epochs: int
    ) -> RecordedEpoch:
        visits, losses, rates = curve_of(result.measurements, self._rates, result.ranks)
        return RecordedEpoch(
            number=result.number,
            num_samples=values.size,
            kept=result.kept,
            visits=result.visits,
            seconds=result.seconds,
            planning_seconds=result.totals.planning_seconds - self._planned_before,
            recording_seconds=self._seconds,
            losses_left_out=result.losses_left_out,
            mean_loss=result.mean_loss,
            curve_visits=visits,
            curve_losses=losses,
            curve_rates=rates,
            quantiles=quantiles_of(values),
            reliability=result.score.reliability,
            counted_epochs=counted_epochs,
        )

    def _go_back_to(self, number: int) -> None:
        """Remove what is there of epoch `number` and later ones, which are to be repeated.

        The last one first: a process that is killed meanwhile leaves no gap.
        """
        files = losses_files(self.directory)
        later = [files.pop(each) for each in reversed(list(files)) if each >= number]
        self._check_ours(later)
        before = [line for epoch, line in epoch_lines(self.directory) if epoch.number < number]
        with whole_file(self.directory / EPOCHS, sync=False) as file:
            file.write(b"".join(line + b"\n" for line in before))
        for path in later:
            path.unlink()
        self._sizes = {each: path.stat().st_size for each, path in files.items()}

    def _remove_epochs(self) -> None:
        """Remove what is there of a recording whose files were all found to be of it."""
        for path in reversed(list(losses_files(self.directory).values())):
            path.unlink()
        for name in (EPOCHS, SAMPLES):
            (self.directory / name).unlink(missing_ok=True)

    def _make_room(self, number: int) -> None:
        """Remove the losses of the oldest epochs if all are too large."""
        self._sizes[number] = losses_file(self.directory, number).stat().st_size
        total = sum(self._sizes.values())
        while total > self._max_bytes and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            path = losses_file(self.directory, oldest)
            self._check_ours([path])
            path.unlink(missing_ok=True)
            total -= self._sizes.pop(oldest)


def _samples(
    values: NDArray[np.float32], visits: NDArray[np.int32], keys: KeyTable | None
) -> NDArray[Any]:
    """Return the state of all samples: an array of records, shape (N,)."""
    records = np.empty(values.size, dtype=SAMPLE if keys is None else KEYED_SAMPLE)
    records["score"], records["visits"] = values, visits
    if keys is not None:
        records["key"] = keys.fingerprints
    return records


def _differing(before: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """Return in what two runs differ that one run has in common."""
    return [name for name in SAME if name in run and before.get(name) != run[name]]
