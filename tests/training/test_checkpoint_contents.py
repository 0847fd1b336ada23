"""What is in a checkpoint's file, and how damage to it is found."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from helpers import (
    Numbers,
    bls,
)
from stopped_runs import Noisy, train_on

from dynaprune import (
    InfoBatch,
    load_checkpoint,
    save_checkpoint,
)

# Checkpoint files


def test_a_file_cut_short_anywhere(tmp_path):
    _, state = train_on(bls(InfoBatch, 60), stop_after=12)
    save_checkpoint(tmp_path / "state.pt", train=state)
    content = (tmp_path / "state.pt").read_bytes()
    assert len(content) > 1000
    other = bls(InfoBatch, 60)
    for length in [0, 1, 100, *range(500, len(content), 700), len(content) - 1]:
        (tmp_path / "state.pt").write_bytes(content[:length])
        with pytest.raises(RuntimeError, match=r"state.pt, of [\d,]+ bytes, cannot be read"):
            other.load_state_dict(load_checkpoint(tmp_path / "state.pt")["train"])
    assert other.epoch == 0
    (tmp_path / "state.pt").write_bytes(content)
    other.load_state_dict(load_checkpoint(tmp_path / "state.pt")["train"])
    assert other.epochs.progress.visits == state["progress"]["indices"].numel() > 0


def test_files_that_are_no_checkpoints(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*missing.pt"):
        load_checkpoint(tmp_path / "missing.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(RuntimeError, match=r"holds a list, but the states of save_checkpoint are"):
        load_checkpoint(tmp_path / "list.pt")


def test_objects_are_saved_by_their_state(tmp_path):
    from dynaprune import load_checkpoint, save_checkpoint

    model, train = torch.nn.Linear(2, 1), InfoBatch(Noisy(60), 10)
    save_checkpoint(tmp_path / "c.pt", model=model, train=train, step=3)
    states = load_checkpoint(tmp_path / "c.pt")
    torch.nn.Linear(2, 1).load_state_dict(states["model"])
    InfoBatch(Noisy(60), 10).load_state_dict(states["train"])
    assert states["step"] == 3


# Damaged files


def test_a_checkpoint_is_a_file_of_torch(tmp_path):
    path, state = tmp_path / "state.pt", train_on(bls(InfoBatch, 60), stop_after=12)[1]
    save_checkpoint(path, train=state, step=3)
    for how in ({}, {"mmap": True}):
        found = torch.load(path, weights_only=True, **how)
        assert list(found) == ["train", "step"]
        bls(InfoBatch, 60).load_state_dict(found["train"])
    assert zipfile.ZipFile(path).testzip() is None


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path):
    path = tmp_path / "state.pt"
    save_checkpoint(path, train=bls(InfoBatch, 60), step=3)
    content = path.read_bytes()
    last = 8 * (len(content) - 80)  # of the end, which is read first, each bit
    for bit in [*range(0, last, 53), *range(last, 8 * len(content))]:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(RuntimeError, match=r"cannot be read: it is cut short or damaged"):
            load_checkpoint(path)


def test_a_flipped_bit_in_a_file_of_torch_is_found_if_it_changes_a_state(tmp_path):
    path, train = tmp_path / "state.pt", bls(InfoBatch, 60)
    state = train_on(bls(InfoBatch, 60), stop_after=12)[1]
    torch.save(state, path)
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 211):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            train.load_state_dict(load_checkpoint(path))
        except RuntimeError:
            continue
        for name, values in state["progress"].items():
            found = train.state_dict()["progress"][name]
            assert found.equal(values) if torch.is_tensor(values) else found == values
        assert train.state_dict()["score"]["values"].equal(state["score"]["values"])


def pickled(value):
    return lambda path: path.write_bytes(pickle.dumps(value))


def pickled_at(value, path):
    path.write_bytes(pickle.dumps(value, protocol=2))  # torch warns of others


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "of 0 bytes, cannot be read: it is cut short"),
        (lambda path: path.write_text("hello, world\n" * 9), "cannot be read: it is cut short"),
        (lambda path: path.write_bytes(b"PK"), "cannot be read: it is cut short"),
        (pickled(Numbers(3)), "cannot be read: it is cut short"),
        (pickled("a text"), "cannot be read: it is cut short|holds a str"),
        (zipped, "cannot be read: it is cut short"),
        (lambda path: path.mkdir(), "is no checkpoint: it is a folder, or no regular file"),
        (os.mkfifo, "is no checkpoint: it is a folder, or no regular file"),
    ],
)
def test_something_else_than_a_checkpoint(make, message, tmp_path):
    make(tmp_path / "state.pt")
    with pytest.raises(RuntimeError, match=message):
        load_checkpoint(tmp_path / "state.pt")


@pytest.mark.parametrize(
    ("value", "reason"),
    [({"a": 3.0, "data": Numbers(3)}, "Numbers"), (np.float64(3), "scalar")],
)
@pytest.mark.parametrize("save", [torch.save, pickled_at], ids=["torch", "pickle"])
def test_no_advice_to_run_code_from_a_file(save, value, reason, tmp_path):
    save(value, tmp_path / "state.pt")
    with pytest.raises(RuntimeError, match="such as save_checkpoint and torch.save write") as error:
        load_checkpoint(tmp_path / "state.pt")
    said = str(error.value)
    assert "WeightsUnpickler" not in said
    assert "weights_only" not in said
    assert "likely succeed" not in said
    assert "add_safe_globals" not in said
    assert reason in said


def test_any_error_of_reading_is_told_alike(tmp_path, monkeypatch):
    """Which one torch raises depends on where a file is cut short."""
    save_checkpoint(tmp_path / "state.pt", step=1)
    for kind in (OSError, TypeError, AttributeError, OverflowError, MemoryError, KeyError):

        def fail(*_, kind=kind, **__):
            raise kind("no")

        monkeypatch.setattr(torch, "load", fail)
        with pytest.raises(RuntimeError, match="cannot be read"):
            load_checkpoint(tmp_path / "state.pt")


def test_what_may_not_be_loaded_is_not_called_damaged(tmp_path):
    save_checkpoint(tmp_path / "state.pt", dataset=Numbers(3))
    with pytest.raises(RuntimeError, match=r"it is as it was written, but holds .*plain values"):
        load_checkpoint(tmp_path / "state.pt")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"best": np.float64(0.9)}, "scalar"),
        ({"history": [np.zeros(3)]}, "numpy.ndarray"),
        (Numbers(3), "helpers.Numbers"),
        (os.getcwd, "posix"),
        ({"step": 3, "rate": 0.1, "weights": torch.ones(3), "names": ("a", None)}, None),
    ],
)
def test_what_could_not_be_loaded_is_told_when_it_is_saved(state, said, tmp_path, caplog):
    """At the end of a long run it would be too late."""
    save_checkpoint(tmp_path / "state.pt", state=state)
    if said is None:
        assert caplog.messages == []
        load_checkpoint(tmp_path / "state.pt")
    else:
        assert len(caplog.messages) == 1
        assert said in caplog.text
        assert "plain values" in caplog.text
        with pytest.raises(RuntimeError, match="plain values"):
            load_checkpoint(tmp_path / "state.pt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    save_checkpoint(tmp_path / "state.pt", step=1)
    (tmp_path / "state.pt").chmod(0)
    with pytest.raises(PermissionError):
        load_checkpoint(tmp_path / "state.pt")
