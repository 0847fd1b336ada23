"""What a recording may remove and replace, and who may write to it."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, mean_loss, set_current, train_epoch
from ranks import on_ranks

from dynaprune import DataLoader, InfoBatch, NoPrune, Summary, read_recording
from dynaprune.diagnostics.spectrum import spectrum
from dynaprune.tracking import EpochResult
from dynaprune.tracking.recording import (
    epoch_numbers,
    read_epochs,
    read_run,
    read_samples,
    recorder,
)
from dynaprune.tracking.recording.files import losses_file, pack_losses, recording_of
from dynaprune.tracking.recording.start import recorder_of
from dynaprune.tracking.report.run import RecordedRun


def make(count=40, **arguments):
    return bls(NoPrune, count, **arguments)


def run(train, epochs):
    loader = DataLoader(train, batch_size=8, sampler=train.sampler)
    for _ in range(epochs):
        train_epoch(loader, mean_loss)


def recorded(folder, epochs, **arguments):
    """Record a run and return it."""
    train = make(**arguments)
    train.record(folder)
    run(train, epochs)
    return train


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


HIDDEN = [
    ".env.2024",
    ".viminfo.1",
    ".epoch-00000.npz.12345",
    ".notes.txt.abcdefgh.tmp-dynaprune",
    ".epoch-1.npz.abcdefgh.tmp-dynaprune",
    ".run.json.toolongname.tmp-dynaprune",
    "epoch-1.npz",
    "epoch-000000.npz",
    "epoch-٠٠٠٠٠.npz",
    "xepoch-00000.npz",
    "epoch-00000.npz.bak",
]


def test_files_of_others_are_left_alone(tmp_path):
    for name in HIDDEN:
        (tmp_path / name).write_text(name)
    recorded(tmp_path, 2)
    again = make()
    again.record(tmp_path, overwrite=True)
    run(again, 1)
    for name in HIDDEN:
        assert (tmp_path / name).read_text() == name


@pytest.mark.parametrize("name", ["run.json", "epochs.jsonl", "samples.npy", "epoch-00000.npz"])
def test_what_a_killed_process_has_left_is_removed(tmp_path, name):
    left = tmp_path / f".dynaprune-{zlib.crc32(name.encode()):08x}-{'0' * 16}"
    left.write_bytes(b"half")
    recorded(tmp_path, 1)
    assert not left.exists()


@pytest.mark.parametrize("name", ["epochs.jsonl", "samples.npy", "epoch-00003.npz"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_recording(tmp_path, name, overwrite):
    (tmp_path / name).write_text("mine")
    with pytest.raises(RuntimeError, match=rf"holds {name}, but no run.json, .* its own directory"):
        make().record(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_of_another_program(tmp_path, overwrite):
    (tmp_path / "run.json").write_text('{"method": "theirs"}')
    with pytest.raises(
        RuntimeError, match=r"run.json is damaged, or not part of a recording by dyna"
    ):
        make().record(tmp_path, overwrite=overwrite)
    assert (tmp_path / "run.json").read_text() == '{"method": "theirs"}'


def test_an_epoch_that_somebody_has_put_there(tmp_path):
    train = recorded(tmp_path, 2)
    state = train.state_dict()
    np.savez(tmp_path / "epoch-00003.npz", mine=np.arange(3))
    before = contents(tmp_path)
    resumed, fresh = make(), make()
    resumed.record(tmp_path)
    resumed.load_state_dict(state)
    fresh.record(tmp_path, overwrite=True)
    for each in (resumed, fresh):
        with pytest.raises(RuntimeError, match=r"epoch-00003.npz was not written by this record"):
            run(each, 1)
        assert contents(tmp_path) == before
    run(train, 1)  # epoch 2 is next to what it has written
    with pytest.raises(RuntimeError, match=r"epoch-00003.npz was not written by this recording"):
        run(train, 1)
    assert (tmp_path / "epoch-00003.npz").read_bytes() == before["epoch-00003.npz"]


def test_an_epoch_of_another_recording(tmp_path):
    train = recorded(tmp_path / "one", 2)
    recorded(tmp_path / "other", 3)
    state = train.state_dict()
    shutil.copy(tmp_path / "other" / "epoch-00002.npz", tmp_path / "one")
    resumed = make()
    resumed.load_state_dict(state)
    resumed.record(tmp_path / "one")
    with pytest.raises(RuntimeError, match=r"epoch-00002.npz was not written by this recording"):
        run(resumed, 1)


def test_old_epochs_that_were_exchanged_are_not_removed_to_make_room(tmp_path):
    train = make()
    train.record(tmp_path, max_megabytes=0.001)  # of which an epoch takes almost all
    run(train, 1)
    (tmp_path / "epoch-00000.npz").write_text("mine")
    (tmp_path / "epochs.jsonl").write_text("")
    with pytest.raises(RuntimeError, match=r"epoch-00000.npz was not written by this recording"):
        run(train, 1)
    assert (tmp_path / "epoch-00000.npz").read_text() == "mine"


def test_a_recording_whose_files_are_not_marked_is_gone_on_with(tmp_path):
    """As those that were made before files had marks."""
    train = recorded(tmp_path, 2)
    state = train.state_dict()
    run(train, 1)
    facts = json.loads((tmp_path / "run.json").read_text())
    del facts["id"], facts["writer"]
    (tmp_path / "run.json").write_text(json.dumps(facts))
    for path in tmp_path.glob("epoch-*.npz"):
        np.savez(path, **np.load(path))
    samples = np.load(tmp_path / "samples.npy")
    np.save(tmp_path / "samples.npy", samples)
    assert read_samples(tmp_path).epochs == 3
    resumed = make()
    resumed.load_state_dict(state)
    resumed.record(tmp_path)
    run(resumed, 1)
    assert epoch_numbers(tmp_path) == [0, 1, 2]
    assert recording_of(tmp_path / "epoch-00002.npz") is not None


# Runs that begin anew


def test_a_run_that_begins_anew_does_not_overwrite(tmp_path):
    recorded(tmp_path, 3)
    before = contents(tmp_path)
    fresh = make()
    fresh.record(tmp_path)
    batch = next(iter(DataLoader(fresh, batch_size=8, sampler=fresh.sampler)))
    with pytest.raises(RuntimeError, match=r"a run \(epochs: 3\).*directory, or overwrite=True"):
        fresh.update(mean_loss(batch))  # at once: nobody trains an epoch in vain
    assert contents(tmp_path) == before


def refused_on_rank(rank: int, folder: str) -> str:
    train = NoPrune(Numbers(40), num_epochs=2)
    train.record(folder)
    loader = DataLoader(train, batch_size=4, sampler=train.sampler)
    try:
        train_epoch(loader, lambda batch: batch.float().mean())
    except RuntimeError as error:
        return str(error)
    return "trained"


def test_all_ranks_are_refused(tmp_path):
    """So none of them waits for the others."""
    train = NoPrune(Numbers(40), num_epochs=2)
    train.record(tmp_path)
    train_epoch(DataLoader(train, batch_size=4), lambda batch: batch.float().mean())
    said = on_ranks(2, refused_on_rank, str(tmp_path))
    assert ["(epochs: 1), which this run would overwrite" in each for each in said] == [True] * 2


def test_overwriting_takes_the_place_of_all(tmp_path):
    recorded(tmp_path, 3)
    first = read_run(tmp_path), json.loads((tmp_path / "run.json").read_text())["id"]
    fresh = make()
    fresh.record(tmp_path, overwrite=True)
    assert len(read_recording(tmp_path)) == 3  # as long as there is nothing else
    run(fresh, 2)
    assert epoch_numbers(tmp_path) == [each.number for each in read_epochs(tmp_path)] == [0, 1]
    assert json.loads((tmp_path / "run.json").read_text())["id"] != first[1]
    assert read_run(tmp_path) == first[0]
    assert read_samples(tmp_path).epochs == 2


def test_overwriting_the_recording_of_another_run(tmp_path):
    recorded(tmp_path, 3, seed=1)
    other = bls(InfoBatch, 50)
    with pytest.raises(RuntimeError, match=r"another run .*or overwrite=True to replace"):
        other.record(tmp_path)
    other.record(tmp_path, overwrite=True)
    run(other, 1)
    assert epoch_numbers(tmp_path) == [0]
    assert read_run(tmp_path)["method"] == "InfoBatch"


@pytest.mark.parametrize("kind", ["between epochs", "in the middle"])
@pytest.mark.parametrize("order", ["record first", "load first"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_resumed_run_keeps_what_was_before(tmp_path, kind, order, overwrite):
    train = make()
    train.record(tmp_path)
    if kind == "between epochs":
        run(train, 2)
        state = train.state_dict()
    else:  # of epoch 0
        for batch in DataLoader(train, batch_size=8, sampler=train.sampler):
            train.update(mean_loss(batch))
            state = train.state_dict()
            break
    run(train, 2)
    identity = json.loads((tmp_path / "run.json").read_text())["id"]
    resumed = make()
    if order == "load first":
        resumed.load_state_dict(state)
    resumed.record(tmp_path, overwrite=overwrite)
    if order == "record first":
        resumed.load_state_dict(state)
    run(resumed, 1)
    assert epoch_numbers(tmp_path) == ([0, 1, 2] if kind == "between epochs" else [0])
    assert json.loads((tmp_path / "run.json").read_text())["id"] == identity


def test_the_same_object_may_go_back(tmp_path):
    train = make()
    train.record(tmp_path)
    state = train.state_dict()
    run(train, 3)
    train.load_state_dict(state)
    run(train, 1)
    assert epoch_numbers(tmp_path) == [0]


def test_overwrite_is_yes_or_no(tmp_path):
    with pytest.raises(TypeError, match="overwrite must be True or False, but a str was given"):
        make().record(tmp_path, overwrite="no")


# Two that write


def test_two_runs_at_once(tmp_path):
    one, other = make(), make()
    one.record(tmp_path)
    other.record(tmp_path)
    run(one, 1)
    before = contents(tmp_path)
    with pytest.raises(RuntimeError, match=r"would overwrite"):
        run(other, 1)
    assert contents(tmp_path) == before


def test_two_resumed_runs_at_once(tmp_path):
    state = recorded(tmp_path, 2).state_dict()
    one, other = make(), make()
    for each in (one, other):
        each.load_state_dict(state)
        each.record(tmp_path)
        run(each, 1)
    before = contents(tmp_path)
    with pytest.raises(RuntimeError, match=r"another process, or another run, writes to the rec"):
        run(one, 1)
    assert contents(tmp_path) == before
    run(other, 1)  # the one that came last goes on
    assert epoch_numbers(tmp_path) == [0, 1, 2, 3]


def test_two_runs_that_both_were_about_to_begin(tmp_path):
    """Both have made their first step when there was nothing."""
    one, other = make(), make()
    for each in (one, other):
        each.record(tmp_path)
        each.begin_epoch()
        set_current(each, range(40), torch.tensor(1.0))
    one.end_epoch()
    before = contents(tmp_path)
    with pytest.raises(RuntimeError, match="would overwrite"):
        other.end_epoch()
    assert contents(tmp_path) == before


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
    """A line of which only the first half is written."""

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


def test_marks_of_files(tmp_path):
    (batches,) = read_recording(recorder_of(recorded(tmp_path / "run", 1)).directory)
    path = losses_file(tmp_path, 0)
    with path.open("wb") as file:
        pack_losses(file, batches, "0123abcd")
    assert recording_of(path) == "0123abcd"
    path.write_bytes(path.read_bytes()[:-30])
    assert recording_of(path) is None
    path.write_text("text")
    assert recording_of(path) is None
