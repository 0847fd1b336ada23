"""Recordings that somebody else has made: what is wrong is said, and takes no memory or time."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from helpers import bls, mean_loss, train_epoch

from dynaprune import DataLoader, NoPrune, read_recording
from dynaprune.tracking.recording import read_epochs, read_run, read_samples
from dynaprune.tracking.report.run import RecordedRun

MANY = 10**12

READERS = (read_recording, read_epochs, read_samples, read_run, RecordedRun.read)


def train_on(train):
    train_epoch(DataLoader(train, batch_size=8, sampler=train.sampler), mean_loss)


def resume(state, folder):
    train = bls(NoPrune, 40)
    train.load_state_dict(state)
    train.record(folder)
    train_on(train)


@pytest.fixture
def folder(tmp_path):
    """A recording of three epochs, of which reading may not take more than a few MiB."""
    train = bls(NoPrune, 40)
    train.record(tmp_path)
    for _ in range(3):
        train_on(train)
    tracemalloc.start()
    yield tmp_path
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def header(shape, dtype="<f4", version=(1, 0)):
    """Return the beginning of an array, whatever it claims."""
    about = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    length = struct.pack("<H" if version == (1, 0) else "<I", len(about))
    return b"\x93NUMPY" + bytes(version) + length + about


def array(values):
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def members(size=3, **others):
    """Return what a file of losses holds, except for what a test puts in."""
    good = {
        "indices": array(np.arange(size, dtype=np.int32)),
        "sizes": array(np.ones(size, dtype=np.int32)),
        "losses": array(np.ones(size, dtype=np.float32)),
        "steps": array(np.arange(size, dtype=np.int32)),
    }
    return {**good, **others}


def write_zip(path, contents, compressed=()):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            how = zipfile.ZIP_DEFLATED if name in compressed else zipfile.ZIP_STORED
            archive.writestr(f"{name}.npy", content, how)


def test_what_a_file_of_losses_may_be(folder):
    write_zip(folder / "epoch-00001.npz", members(), ("sizes", "steps"))
    assert read_recording(folder)[1].losses.tolist() == [1, 1, 1]


BAD_LOSSES = {
    "a header of very many": (members(losses=header((MANY,))), (), "1,000,000,000,000 numbers in"),
    "less than nothing": (members(losses=header((-1,))), (), "numbers in"),
    "large items": (members(losses=header((1,), "|V1000000000")), (), "no recording has"),
    "objects": (members(losses=array(np.array([None]))), (), "no recording has"),
    "a table": (members(losses=array(np.ones((1, 3), np.float32))), (), r"shape \(1, 3\)"),
    "no axis": (members(losses=array(np.float32(3))), (), r"shape \(\)"),
    "doubles": (members(losses=array(np.ones(3))), (), "no recording has"),
    "another version": (members(losses=header((3,), version=(2, 0))), (), "version"),
    "a nested header": (members(losses=header("(" * 3000 + ")" * 3000)), (), "eader"),
    "no header": (members(losses=b"losses"), (), "damaged"),
    "nothing": (members(losses=b""), (), "damaged"),
    "compressed losses": (members(2**25), ("losses",), "losses are compressed"),
    "a bomb of sizes": (
        members(sizes=array(np.ones(2**25, np.int32))),
        ("sizes",),
        "claim to take",
    ),
    "a bomb of steps": (members(steps=bytes(2**27)), ("steps",), "claim to take 134,217,728 bytes"),
    "no sizes": (members(sizes=array(np.array([3, 0, 0], np.int32))), (), "inconsistent lengths"),
    "negative sizes": (
        members(sizes=array(np.array([4, 1, -2], np.int32))),
        (),
        "inconsistent lengths",
    ),
    "negative steps": (
        members(steps=array(np.array([0, -1, 2], np.int32))),
        (),
        "inconsistent lengths",
    ),
    "too many indices": (
        members(indices=array(np.arange(4, dtype=np.int32))),
        (),
        "inconsistent lengths",
    ),
}


@pytest.mark.parametrize("what", BAD_LOSSES)
def test_losses_that_are_none(tmp_path, what):
    contents, compressed, message = BAD_LOSSES[what]
    write_zip(tmp_path / "epoch-00000.npz", contents, compressed)
    del contents
    tracemalloc.start()
    with pytest.raises(RuntimeError, match=f"epoch-00000.npz, .*cannot be read.*{message}"):
        read_recording(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # of 2²⁵ indices, which are there, 128 MiB are read before it shows that losses are compressed
    assert peak < (400 if what == "compressed losses" else 16) * 2**20


def test_an_archive_that_asks_for_a_password(folder):
    path = folder / "epoch-00001.npz"
    write_zip(path, members())
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = content.index(signature)
        content[place + offset] |= 1  # of the flags: encrypted
    path.write_bytes(content)
    with pytest.raises(RuntimeError, match=r"epoch-00001.npz, .*cannot be read"):
        read_recording(folder)


def test_a_number_far_away(folder, caplog):
    (folder / "epoch-00002.npz").rename(folder / "epoch-99999999999.npz")
    assert len(read_recording(folder)) == 3
    assert "but not 2 to 99999999998: the existing ones are read" in caplog.text


def test_many_gaps_are_not_all_named(tmp_path, caplog):
    for number in range(0, 60, 2):
        write_zip(tmp_path / f"epoch-{number:05}.npz", members())
    assert len(read_recording(tmp_path)) == 30
    assert "but not 1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and more: the existing ones" in caplog.text


BAD_SAMPLES = {
    "very many": header((MANY,), [("score", "<f4"), ("visits", "<i4")]),
    "numbers": array(np.arange(3)),
    "other columns": array(np.zeros(3, [("score", "<f4"), ("visits", "<f8")])),
    "objects": array(np.array([None, "a"])),
    "cut": array(np.zeros(40, [("score", "<f4"), ("visits", "<i4")]))[:-1],
    "text": b"samples",
    "nothing": b"",
    "another end": array(np.zeros(3, [("score", "<f4"), ("visits", "<i4")])) + b"end",
    "a long end": array(np.zeros(3, [("score", "<f4"), ("visits", "<i4")]))
    + header((MANY,), "<i8"),
}


@pytest.mark.parametrize("what", BAD_SAMPLES)
def test_samples_that_are_none(folder, what):
    (folder / "samples.npy").write_bytes(BAD_SAMPLES[what])
    with pytest.raises(RuntimeError, match=r"samples.npy is damaged \("):
        read_samples(folder)


def changed(line, **values):
    return json.dumps({**json.loads(line), **values}).encode()


BAD_LINES = {
    "a large number": lambda line: changed(line, number=10**30),
    "beyond numbers": lambda line: line.replace(b'"number": 1', b'"number": 1e400'),
    "very many digits": lambda line: line.replace(b'"number": 1', b'"number": 1' + b"0" * 5000),
    "below 0": lambda line: changed(line, number=-1),
    "half an epoch": lambda line: changed(line, number=1.5),
    "yes": lambda line: changed(line, number=True),
    "no number": lambda line: changed(line, number=None),
    "a text": lambda line: changed(line, visits="40"),
    "a list": lambda line: changed(line, kept=[40]),
    "not a number": lambda line: line.replace(b'"number": 1', b'"number": NaN'),
    "seconds beyond numbers": lambda line: changed(line, seconds=10**400),
    "infinite seconds": lambda line: changed(line, seconds=float("inf")),
    "a loss that is none": lambda line: changed(line, mean_loss="low"),
    "a curve too long": lambda line: changed(line, curve_visits=[1] * 200, curve_losses=[1] * 200),
    "a curve too short": lambda line: changed(line, curve_losses=[1.0]),
    "few rates": lambda line: changed(line, curve_rates=[1.0, 2.0]),
    "few quantiles": lambda line: changed(line, quantiles=[1.0]),
    "a curve of texts": lambda line: changed(line, curve_losses=["1"] * 5),
    "no curve": lambda line: changed(line, curve_losses=3),
    "nested": lambda line: b'{"number": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "unfinished and nested": lambda line: b"[" * 100_000,
    "nothing in it": lambda line: b"{}",
    "more than there is": lambda line: changed(line, other=1),
    "no object": lambda line: b"[1, 2]",
    "no JSON": lambda line: b"epoch 1",
    "no text": lambda line: b"\xff\xfe{}",
    "a long one": lambda line: b" " * 2**21,
}


@pytest.mark.parametrize("what", BAD_LINES)
@pytest.mark.parametrize("is_last", [False, True])
def test_lines_that_are_of_no_epoch(folder, what, is_last):
    path = folder / "epochs.jsonl"
    first, second, third = path.read_bytes().splitlines()
    lines = [first, BAD_LINES[what](second)] + ([] if is_last else [third])
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(RuntimeError, match=r"line 2 of .*epochs.jsonl is damaged \(.{1,200}\)$"):
        read_epochs(folder)


def test_what_a_line_says_instead_of_no_number(folder):
    path = folder / "epochs.jsonl"
    lines = path.read_bytes().splitlines()
    assert json.loads(lines[0])["reliability"] is None
    assert np.isnan(read_epochs(folder)[0].reliability)


GOOD_RUN = {
    "method": "NoPrune",
    "score": "BLS",
    "seed": 0,
    "dataset": "Numbers",
    "num_samples": 40,
    "version": "0.1.0",
}
BAD_RUNS = {
    "very large": json.dumps(GOOD_RUN | {"settings": {"text": "x" * 2**25}}).encode(),
    "nested": b'{"a": ' * 100_000,
    "very many digits": b'{"seed": 1' + b"0" * 5000 + b"}",
    "settings": json.dumps(GOOD_RUN | {"settings": [1]}).encode(),
    "a setting": json.dumps(GOOD_RUN | {"settings": {"alpha": {"is": 1}}}).encode(),
    "a fact": json.dumps(GOOD_RUN | {"seed": [0] * 1000}).encode(),
    "little": b'{"method": "NoPrune"}',
    "no text": b"\xff",
    "no object": b"3",
}


@pytest.mark.parametrize("what", BAD_RUNS)
def test_facts_that_are_none(folder, what):
    (folder / "run.json").write_bytes(BAD_RUNS[what])
    with pytest.raises(
        RuntimeError, match=r"run.json is damaged, or not part of a recording.{1,200}$"
    ):
        read_run(folder)


def test_facts_that_are_odd_but_whole(folder):
    facts = GOOD_RUN | {"settings": {"limit": float("inf"), "name": "\ud800\x1b[31m"}}
    (folder / "run.json").write_text(json.dumps(facts))
    assert read_run(folder) == facts


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["run.json", "epochs.jsonl", "samples.npy", "epoch-00001.npz"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a pipe"])
@pytest.mark.timeout(20)
def test_pipes_are_not_waited_for(folder, tmp_path_factory, name, kind):
    path = folder / name
    first = bls(NoPrune, 40)
    train_on(first)
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        elsewhere = tmp_path_factory.mktemp("elsewhere") / "pipe"
        os.mkfifo(elsewhere)
        path.symlink_to(elsewhere)
    message = f"{name} is a folder, a pipe or a device"
    errors = []
    for read in READERS:
        try:
            read(folder)
        except RuntimeError as error:
            errors.append(str(error))
    assert errors
    assert all(message in error for error in errors)
    with pytest.raises(RuntimeError, match=message):
        resume(first.state_dict(), folder)
    assert path.is_dir() == (kind == "folder")
    assert path.exists()
    assert not path.is_file()


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
@pytest.mark.parametrize("name", ["run.json", "epochs.jsonl", "samples.npy", "epoch-00003.npz"])
@pytest.mark.parametrize("is_dangling", [False, True])
def test_nothing_is_written_through_links(folder, tmp_path_factory, name, is_dangling):
    first = bls(NoPrune, 40)
    for _ in range(3):
        train_on(first)
    path, elsewhere = folder / name, tmp_path_factory.mktemp("elsewhere") / "precious"
    if path.exists():
        path.rename(elsewhere)
    else:
        elsewhere.write_text("precious")
    before = elsewhere.read_bytes()
    if is_dangling:
        elsewhere.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(RuntimeError):
        resume(first.state_dict(), folder)
    assert path.is_symlink()
    assert elsewhere.exists() != is_dangling
    assert is_dangling or elsewhere.read_bytes() == before
