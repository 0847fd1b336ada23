"""Writing the measurements of a run to a recording, epoch by epoch."""

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

from ...scores.extras import EACH_SAMPLE
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
    is_recording_file_name,
    losses_file,
    losses_files,
    pack_losses,
    recording_of,
)
from .reader import KEYED_SAMPLE, SAMPLE, epoch_lines, read_facts

if TYPE_CHECKING:
    from ...pruned_dataset import PrunedDataset
    from ...scores import Score
    from ...training.summary import Summary

RUN_IDENTITY = ("method", "score", "seed", "dataset", "dataset_length")
"""The facts that a run keeps when it is resumed; two runs that differ in one are different runs."""

MAX_NAMED = 5
"""How many files an error names."""

NO_EPOCH = -2
"""A number that is neither that of an epoch nor −1, which precedes the first."""


class Recorder(Callback):
    """Writes each completed epoch: its summary, its losses, and the state of all samples.

    A recording has one writer at a time. `run.json` contains the writer's id, and the writer checks
    it before it writes an epoch. A new writer replaces the id, so the previous one stops with an
    error.

    Arguments:
        directory: the folder of the recording; it is created if it does not exist.
        facts: the entries of `run.json`, except the score and the number of samples.
        max_bytes: the size limit for the losses; above it, those of the oldest epochs are deleted.
        optimizer: the optimizer whose learning rate is recorded, if any.
        is_fresh: returns whether the run trains from its beginning, instead of resuming.
        overwrite: whether a fresh run, or another run, may replace an existing recording.

    Raises:
        OSError: the folder cannot be created.
        RuntimeError: the folder contains the recording of another run, or files with the names of
            a recording's files but no recording.
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
        self._id = secrets.token_hex(8)  # a continued recording keeps its own id instead
        self._writer: tuple[str, int] | None = None  # the id in run.json, and this process
        self._may_begin = False  # whether it is known that this run overwrites nothing
        self._rates: list[float] = []
        self._rates_written = 0  # how many of these belong to the last written epoch
        self._planned_before = self._planned = 0.0
        self._seconds = 0.0
        self._last = NO_EPOCH  # the last epoch that was written completely
        self._content: tuple[int, ...] | None = None  # identifies its measurements
        self._sizes: dict[int, int] = {}  # bytes of the losses, by epoch
        self._check_run(facts)

    @property
    def has_written(self) -> bool:
        """Whether this process has written an epoch."""
        return self._last >= 0

    def on_attach(self, train: PrunedDataset) -> None:
        """Start to record, with the epoch in progress."""
        train.epochs.follow(EACH_SAMPLE)
        self.on_resume(train.epochs.now.totals)

    def on_resume(self, totals: Summary) -> None:
        """Discard the learning rates of the epoch in progress, which belong to another state."""
        self._rates, self._rates_written = [], 0
        self._planned_before = self._planned = totals.planning_seconds
        self._content, self._may_begin = None, False

    def on_step(self) -> None:
        """Store the learning rate of a step, unless it is on a device: reading it would wait.

        Raises:
            RuntimeError: it is the first step of a fresh run, and a recording exists already.
        """
        if not self._may_begin:
            self._check_begin()
        if self._optimizer is not None:
            rate = self._optimizer.param_groups[0]["lr"]
            if not isinstance(rate, Tensor) or rate.device.type == "cpu":
                self._rates.append(float(rate))

    def on_epoch_end(self, result: EpochResult) -> None:
        """Write an epoch, and remove it and later ones first if the run repeats them.

        An epoch that was already written is written again only if it has new measurements.

        Raises:
            OSError: a file cannot be written; the message names it.
            RuntimeError: the folder contains the recording of another run, one that a fresh run
                would overwrite, or files that are not part of the recording; or another process
                writes to it.
        """
        number, batches, score = result.number, result.measurements, result.score
        content = (number, result.visits, len(batches), result.losses_left_out)
        if content == self._content:
            return
        started = time.perf_counter()
        path = losses_file(self.directory, number)
        values = score.values().numpy()
        counted = score.visits()
        assert counted is not None  # on_attach has requested it
        counted_epochs = counted[1]
        if number != self._last:
            del self._rates[: self._rates_written]
            self._rates_written, self._planned_before = 0, self._planned
        epoch = self._epoch(result, values, counted_epochs)
        for each in (path, *(self.directory / name for name in (RUN, SAMPLES, EPOCHS))):
            check_writable(each)
        # no epoch is complete until all files are written: Ctrl-C may interrupt this
        before, self._last = self._last, NO_EPOCH
        try:
            self._check_writer()
            if self._writer is None:
                self._begin(score)
            if number != before + 1:  # the first one of this process, or a repeated one
                self._remove_from(number)
            self._check_owned([path])
            with whole_file(path, sync=False) as file:
                pack_losses(file, batches, self._id)
            with whole_file(self.directory / SAMPLES, sync=False) as file:
                np.save(file, _samples(score))
                np.save(file, np.array([number, counted_epochs], dtype=np.int64))
            with (self.directory / EPOCHS).open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(epoch.to_json(), allow_nan=False) + "\n")
            self._limit_size(number)
        except OSError as error:
            raise OSError(
                f"epoch {number} cannot be recorded in {path}: {error}. Free some space or give "
                "train.record() another directory, and resume from the last checkpoint"
            ) from error
        self._last, self._content = number, content
        self._rates_written, self._planned = len(self._rates), result.totals.planning_seconds
        self._seconds = time.perf_counter() - started

    def _begin(self, score: Score) -> None:
        """Become the writer of the existing recording, or of a new one."""
        run = {
            **self._facts,
            "score": type(score).__name__,
            "num_samples": score.num_samples,
            "settings": {**self._facts.get("settings", {}), **plain(score)},
        }
        before = self._check_run(run)
        self._check_begin()
        self._check_owned(losses_files(self.directory).values(), before)
        if before is not None and (self._is_fresh() or _differing(before, run)):
            self._remove_epochs()  # the checks above have passed, so `overwrite` is set
        elif before is not None:
            self._id = str(before.get("id", self._id))
        writer = secrets.token_hex(8)
        facts = {**run, "version": __version__, "id": self._id, "writer": writer}
        with whole_file(self.directory / RUN, sync=False) as file:
            file.write(json.dumps(facts, indent=2).encode())
        self._writer = writer, os.getpid()

    def _check_begin(self) -> None:
        """Check that a fresh run overwrites no epochs, unless `overwrite` is set.

        Raises:
            RuntimeError: it would overwrite some.
        """
        if self._writer is None and not self._overwrite and self._is_fresh():
            existing = len(losses_files(self.directory)) or len(epoch_lines(self.directory))
            if existing:
                raise RuntimeError(
                    f"{self.directory} holds the recording of a run (epochs: {existing:,}), which "
                    "this run would overwrite, because it trains from the beginning: give "
                    "train.record() another directory, or overwrite=True to replace the recording. "
                    "To resume that run, call load_state_dict() with one of its checkpoints"
                )
        self._may_begin = True

    def _check_writer(self) -> None:
        """Check that no other process has started to write since this one has.

        Raises:
            RuntimeError: one has, or this process is a fork of the writer.
        """
        if self._writer is None:  # this one has not started
            return
        writer, process = self._writer
        path = self.directory / RUN
        is_writer = path.exists() and read_facts(path).get("writer") == writer
        if not is_writer or process != os.getpid():
            raise RuntimeError(
                f"another process, or another run, writes to the recording {self.directory}, or "
                "has removed it: end one of the two, or give each train.record() its own directory"
            )

    def _check_run(self, run: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the entries of the existing `run.json`, if there is one.

        Raises:
            RuntimeError: it belongs to another run, and must not be replaced; or there is no
                recording, but files with the names of a recording's files.
        """
        path = self.directory / RUN
        if not path.exists():
            others = sorted(
                each.name for each in self.directory.iterdir() if is_recording_file_name(each.name)
            )
            if others:
                raise RuntimeError(
                    f"{self.directory} holds {', '.join(others[:MAX_NAMED])}, but no {RUN}, so it "
                    "is not a recording: give train.record() its own directory"
                )
            return None
        before = read_facts(path)
        differing = _differing(before, run)
        if differing and not self._overwrite:
            differences = ", ".join(
                f"{name} {before.get(name)!r}, not {run[name]!r}" for name in differing
            )
            raise RuntimeError(
                f"{self.directory} holds the recording of another run ({differences}): give "
                "train.record() its own directory, or overwrite=True to replace the recording"
            )
        return before

    def _check_owned(self, paths: Iterable[Path], before: Mapping[str, Any] | None = None) -> None:
        """Check that files which are about to be replaced or removed belong to this recording.

        Arguments:
            paths: the files of losses to check.
            before: the entries of `run.json`, if another recorder wrote it.

        Raises:
            RuntimeError: a file does not belong to it.
        """
        known = self._id if before is None else before.get("id")
        listed = None  # older versions wrote no marks, but their files are listed
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
                    f"{path} was not written by this recording, so it is not replaced or removed: "
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

    def _remove_from(self, number: int) -> None:
        """Remove epoch `number` and later ones, which the run repeats.

        It begins with the last one, so that a kill in between leaves no gap.
        """
        files = losses_files(self.directory)
        later = [files.pop(each) for each in reversed(list(files)) if each >= number]
        self._check_owned(later)
        before = [line for epoch, line in epoch_lines(self.directory) if epoch.number < number]
        with whole_file(self.directory / EPOCHS, sync=False) as file:
            file.write(b"".join(line + b"\n" for line in before))
        for path in later:
            path.unlink()
        self._sizes = {each: path.stat().st_size for each, path in files.items()}

    def _remove_epochs(self) -> None:
        """Remove all epochs of the recording; the caller has checked that they belong to it."""
        for path in reversed(list(losses_files(self.directory).values())):
            path.unlink()
        for name in (EPOCHS, SAMPLES):
            (self.directory / name).unlink(missing_ok=True)

    def _limit_size(self, number: int) -> None:
        """Remove the losses of the oldest epochs while all together exceed the size limit."""
        self._sizes[number] = losses_file(self.directory, number).stat().st_size
        total = sum(self._sizes.values())
        while total > self._max_bytes and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            path = losses_file(self.directory, oldest)
            self._check_owned([path])
            path.unlink(missing_ok=True)
            total -= self._sizes.pop(oldest)


def _samples(score: Score) -> NDArray[Any]:
    """Return the state of all samples: an array of records, shape (N,)."""
    records = np.empty(score.num_samples, dtype=SAMPLE if score.keys is None else KEYED_SAMPLE)
    if score.keys is not None:
        records["key"] = score.keys.fingerprints
    kept = score.extras(EACH_SAMPLE)
    records["score"], records["visits"] = score.values().numpy(), kept["visits"].numpy()
    records["last_epoch"] = kept["last_epochs"].numpy()
    records["mean_excess"] = kept["mean_excess"].numpy()
    return records


def _differing(before: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """Return the names of the identifying facts in which two runs differ."""
    return [name for name in RUN_IDENTITY if name in run and before.get(name) != run[name]]
