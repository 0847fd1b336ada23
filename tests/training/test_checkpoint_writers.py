"""How a checkpoint's file is written: whole or not at all, whoever else writes."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import threading
import zlib

import pytest
import torch

from dynaprune import (
    load_checkpoint,
    save_checkpoint,
)
from dynaprune.training.checkpoint import whole_file


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "state.pt"
    save_checkpoint(path, train={"epoch": 1})

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(path, train={"epoch": 2})
    monkeypatch.undo()
    assert load_checkpoint(path) == {"train": {"epoch": 1}}
    assert list(tmp_path.iterdir()) == [path]


def content_of(path):
    return load_checkpoint(path)["values"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    """As two threads do, or two containers in which each process has the number 1."""
    path = tmp_path / "file"
    with whole_file(path) as first:
        first.write(b"first, ")
        first.flush()
        with whole_file(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b"whole")
    assert path.read_bytes() == b"first, whole"
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_save_to_one_file(tmp_path):
    path, errors = tmp_path / "state.pt", []
    save_checkpoint(path, values=torch.zeros(20_000))

    def save(number):
        try:
            for _ in range(15):
                save_checkpoint(path, values=torch.full((20_000,), float(number)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert content_of(path).unique().numel() == 1
    assert errors == []
    assert content_of(path)[0] in (1.0, 2.0)
    assert list(tmp_path.iterdir()) == [path]


def begin_a_save(path, go_on):
    """Fork a process that writes to a file, and calls `go_on` in the midst of that."""
    child = os.fork()
    if child == 0:
        try:
            with whole_file(path) as file:
                file.write(b"half")
                file.flush()
                go_on()
        finally:
            os._exit(0)
    return child


def kill_a_save(path):
    child = begin_a_save(path, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_what_a_killed_save_has_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "state.pt"
    for target in (path, tmp_path / "other.pt"):
        kill_a_save(target)
    left, other = sorted(
        (each for each in tmp_path.iterdir()),
        key=lambda each: each.name.startswith(f".dynaprune-{zlib.crc32(b'other.pt'):08x}"),
    )
    assert left.read_bytes() == other.read_bytes() == b"half"
    users = [".env.2024", ".state.pt.123", f"{left.name}.bak", left.name[:-1], f"{left.name[:-1]}g"]
    for name in users:
        (tmp_path / name).write_text("a user's")
    (tmp_path / f"{left.name[:-2]}zz").symlink_to(tmp_path / ".env.2024")
    folder = tmp_path / (left.name[:-4] + "0000")
    folder.mkdir()
    link = tmp_path / (left.name[:-4] + "1111")
    link.symlink_to(tmp_path / ".env.2024")
    before = set(tmp_path.iterdir())
    save_checkpoint(path, step=1)
    assert set(tmp_path.iterdir()) == before - {left} | {path}
    assert (tmp_path / ".env.2024").read_text() == "a user's"


def test_what_another_process_still_writes_is_left_alone(tmp_path):
    path = tmp_path / "state.pt"
    (begun, has_begun), (due, is_due) = os.pipe(), os.pipe()

    def go_on():
        os.write(has_begun, b"!")
        os.read(due, 1)

    child = begin_a_save(path, go_on)
    os.read(begun, 1)
    save_checkpoint(path, step=1)
    assert load_checkpoint(path) == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 2
    os.write(is_due, b"!")
    assert os.waitpid(child, 0)[1] == 0
    assert path.read_bytes() == b"half"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_was_found_before_it_was_locked_is_begun_again(tmp_path, monkeypatch):
    """Another process looks for leftovers just then."""
    real, removed = fcntl.flock, []

    def flock(descriptor, operation):
        if operation == fcntl.LOCK_EX and not removed:
            removed.extend(tmp_path.glob(".dynaprune-*"))
            removed[0].unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    save_checkpoint(tmp_path / "state.pt", step=1)
    assert len(removed) == 1
    assert load_checkpoint(tmp_path / "state.pt") == {"step": 1}
    assert list(tmp_path.iterdir()) == [tmp_path / "state.pt"]


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError("no locks available")

    path = tmp_path / "state.pt"
    kill_a_save(path)
    monkeypatch.setattr(fcntl, "flock", flock)
    save_checkpoint(path, step=1)
    assert load_checkpoint(path) == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 2


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_gets_the_mode_that_open_would_give_it(tmp_path):
    path = tmp_path / "state.pt"
    before = os.umask(0o027)
    try:
        save_checkpoint(path, step=1)
        assert mode_of(path) == 0o640
        path.chmod(0o604)
        save_checkpoint(path, step=2)
        assert mode_of(path) == 0o604  # that of the file that was replaced
    finally:
        os.umask(before)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_a_link(is_there, tmp_path):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "state.pt", tmp_path / "latest.pt"
    if is_there:
        save_checkpoint(target, step=1)
    link.symlink_to("disk/state.pt")
    save_checkpoint(link, step=2)
    assert link.is_symlink()
    assert not target.is_symlink()
    assert load_checkpoint(target) == load_checkpoint(link) == {"step": 2}
    assert list((tmp_path / "disk").iterdir()) == [target]


def test_the_folder_is_on_the_disk_too(tmp_path, monkeypatch):
    real, synced = os.fsync, []

    def fsync(descriptor):
        files = sorted(each.name for each in tmp_path.iterdir())
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), files == ["state.pt"]))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    save_checkpoint(tmp_path / "state.pt", step=1)
    assert synced == [(False, False), (True, True)]  # the folder once the file has its name


def test_what_is_no_file_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(OSError, match="cannot be replaced by a file: it is a folder or a"):
            save_checkpoint(path, step=1)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_the_longest_names_can_be_written(tmp_path):
    path = tmp_path / ("a" * 255)
    save_checkpoint(path, step=1)
    assert load_checkpoint(path) == {"step": 1}


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nope for x\.pt: make it first"):
        save_checkpoint(tmp_path / "nope" / "x.pt", train={"epoch": 1})
