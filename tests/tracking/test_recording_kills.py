"""Recordings of runs that are killed, repeated or trained in several places."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import train_epoch
from recorded_runs import contents, make, recorded, run

from dynaprune import DataLoader
from dynaprune.diagnostics.spectrum import spectrum
from dynaprune.tracking import EpochResult, read_recording
from dynaprune.tracking.recording import (
    epoch_numbers,
    read_epochs,
    read_samples,
    recorder,
)
from dynaprune.tracking.recording.start import recorder_of
from dynaprune.tracking.report.run import RecordedRun
from dynaprune.training.summary import Summary


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_write(tmp_path):
    train = recorded(tmp_path, 1)
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            try:
                recorder_of(train).on_epoch_end(replace(written(train), number=1))
            except RuntimeError as error:
                code = 7 if "another process" in str(error) else 2
        os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert epoch_numbers(tmp_path) == [0]
    run(train, 1)  # the parent goes on
    assert epoch_numbers(tmp_path) == [0, 1]


def test_a_recording_that_was_removed_meanwhile(tmp_path):
    train = recorded(tmp_path, 1)
    (tmp_path / "run.json").unlink()
    with pytest.raises(RuntimeError, match="or has removed it"):
        run(train, 1)


# Writing twice, and being killed between


def written(train):
    """Return what an epoch of `train` would be written with."""
    (batches,) = read_recording(recorder_of(train).directory)
    return EpochResult(
        number=0,
        measurements=batches,
        score=train.epochs.score,
        mean_loss=train.mean_loss,
        kept=40,
        visits=40,
        seconds=1.0,
        losses_left_out=0,
        ranks=1,
        totals=Summary(),
    )


def test_an_epoch_that_is_written_twice(tmp_path):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    train = make()
    train.record(tmp_path, optimizer=optimizer)
    run(train, 1)
    writer, result = recorder_of(train), written(train)
    before, times = contents(tmp_path), {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    writer.on_epoch_end(result)
    assert contents(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == times
    writer.on_step()
    writer.on_epoch_end(replace(result, visits=45))  # the epoch went on
    (epoch,) = read_epochs(tmp_path)
    assert epoch.visits == 45
    assert epoch.curve_rates == [0.5] * 5  # those of its earlier steps are not lost
    optimizer.param_groups[0]["lr"] = 0.25
    run(train, 1)
    assert [each.number for each in read_epochs(tmp_path)] == [0, 1]
    assert read_epochs(tmp_path)[1].curve_rates == [0.25] * 5


def test_an_epoch_that_is_repeated_is_written_again(tmp_path):
    train = recorded(tmp_path, 1)
    state = train.state_dict()
    run(train, 1)
    train.load_state_dict(state)
    loader = DataLoader(train, batch_size=8, sampler=train.sampler)
    train_epoch(loader, lambda batch: torch.tensor(3.0))  # as many visits as before
    assert read_recording(tmp_path)[1].losses.tolist() == [3.0] * 5


POINTS = ["run.json", "epochs.jsonl", "epoch", "samples.npy", "a line", "make room"]


class Killed(BaseException):
    """Ends a test as a signal would end a process: nothing is put in order."""


def kill_at(monkeypatch, train, point):
    """Let the writing of an epoch end when it comes to a file; of the lines, in the middle."""
    recording = recorder_of(train)
    if point == "make room":
        monkeypatch.setattr(recording, "_limit_size", lambda number: raise_killed())
    elif point == "a line":
        monkeypatch.setattr(recorder.json, "dumps", half_a_line)
    else:
        whole = recorder.whole_file

        def writing(path, *, sync):
            name = "epoch" if path.name.startswith("epoch-") else path.name
            if name == point:
                raise Killed
            return whole(path, sync=sync)

        monkeypatch.setattr(recorder, "whole_file", writing)


def raise_killed():
    raise Killed


def half_a_line(value, **options):
    line = json.JSONEncoder(**options).encode(value)
    return line if "indent" in options else CutLine(line)


class CutLine(str):
    """Only the first half of a line is written."""

    def __add__(self, other):
        return str(self)[: len(self) // 2]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("done", [0, 2])
@pytest.mark.parametrize("resumed_in", ["the same epoch", "the next"])
def test_a_kill_while_an_epoch_is_written(tmp_path, monkeypatch, point, done, resumed_in):
    whole = recorded(tmp_path / "whole", 4)
    train = make()
    train.record(tmp_path / "run")
    run(train, done)
    state = train.state_dict()
    later = make()
    later.load_state_dict(state)
    run(later, 1)  # a checkpoint of what the recording may not have
    with monkeypatch.context() as patched:
        kill_at(patched, train, point)
        with suppress(Killed):
            run(train, 1)
    folder = tmp_path / "run"
    # it can be read, as far as there is anything
    if (folder / "epochs.jsonl").exists() and done:
        assert [each.number for each in read_epochs(folder)][:done] == list(range(done))
        assert read_samples(folder).visits.tolist() == [read_samples(folder).epochs] * 40
        assert epoch_numbers(folder)[:done] == list(range(done))
        read_recording(folder)
    # and gone on with
    resumed = make()
    if done or resumed_in == "the next":
        resumed.load_state_dict(state if resumed_in == "the same epoch" else later.state_dict())
        resumed.record(folder)
    else:
        resumed.record(folder, overwrite=True)
    run(resumed, 4 - resumed.epoch)
    found = epoch_numbers(folder)
    if resumed_in == "the same epoch":
        assert found == [0, 1, 2, 3]
        expected = read_recording(tmp_path / "whole")
        for one, other in zip(read_recording(folder), expected, strict=True):
            assert one.losses.equal(other.losses)
            assert one.indices.equal(other.indices)
        assert resumed.scores.equal(whole.scores)
    else:  # the killed epoch may be missing, and nothing else is
        assert set(range(4)) - set(found) <= {done}
    lines = [each.number for each in read_epochs(folder)]
    assert lines == sorted(set(lines))
    assert lines[-1] == 3
    assert RecordedRun.read(folder).visits_made == 40 * len(lines)
    assert not list(folder.glob(".*"))


def test_a_part_that_was_trained_elsewhere(tmp_path, caplog):
    """Of 2 of 8 epochs nothing is known, and of the others all."""
    train = make()
    train.record(tmp_path)
    run(train, 4)
    elsewhere = make()
    elsewhere.load_state_dict(train.state_dict())
    run(elsewhere, 2)
    resumed = make()
    resumed.record(tmp_path)
    resumed.load_state_dict(elsewhere.state_dict())
    run(resumed, 2)
    assert epoch_numbers(tmp_path) == [0, 1, 2, 3, 6, 7]
    assert [each.number for each in read_epochs(tmp_path)] == [0, 1, 2, 3, 6, 7]
    assert RecordedRun.read(tmp_path).visits_made == 6 * 40
    assert spectrum(tmp_path).visits == 6
    assert "has epochs 0 to 7, but not 4 to 5: the existing ones are read" in caplog.text


def test_going_back_leaves_no_gap_when_it_is_killed(tmp_path, monkeypatch):
    train = recorded(tmp_path, 1)
    state = train.state_dict()
    run(train, 4)
    for removed in range(3):
        resumed = make()
        resumed.load_state_dict(state)
        resumed.record(tmp_path)
        calls = []

        def unlink(path, missing_ok=False, calls=calls, allowed=removed):
            if path.name.startswith("epoch-"):
                if len(calls) >= allowed:
                    raise Killed
                calls.append(path)
            if path.exists():
                os.unlink(path)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", unlink)
            with pytest.raises(Killed):
                run(resumed, 1)
        numbers = epoch_numbers(tmp_path)
        assert numbers == list(range(len(numbers)))
        assert numbers[0] == 0
