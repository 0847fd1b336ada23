"""What a run has measured, written down and read again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, mean_loss, sample_losses, set_current, train_epoch
from ranks import on_ranks

from dynaprune import (
    DataLoader,
    InfoBatch,
    NoPrune,
    PrunedIterableDataset,
    Sharded,
    __version__,
    read_recording,
)
from dynaprune.tracking.recording import epoch_numbers, read_epochs, read_run
from dynaprune.tracking.recording.files import unpack_losses


def run(train, epochs, loss_of=mean_loss, batch_size=8):
    """Train epochs and return the batches that each of them served."""
    loader = DataLoader(train, batch_size=batch_size, sampler=train.sampler)
    return [train_epoch(loader, loss_of) for _ in range(epochs)]


def groups(batches):
    """Return the samples of each measurement, as lists."""
    parts = batches.indices.split(batches.sizes.tolist())
    return [part.tolist() for part in parts]


def test_what_was_served_and_measured_is_read_again(tmp_path):
    train = bls(InfoBatch, 100)
    train.record(tmp_path)
    served = run(train, 4)
    recorded = read_recording(tmp_path)
    assert [groups(batches) for batches in recorded] == served
    for batches, epoch in zip(recorded, served, strict=True):
        expected = torch.stack([mean_loss(torch.tensor(batch)) for batch in epoch])
        assert batches.losses.equal(expected)
        assert batches.steps.tolist() == list(range(len(epoch)))


def test_loss_vectors_keep_their_steps(tmp_path):
    train = InfoBatch(Numbers(20), num_epochs=3)
    train.record(tmp_path)
    ((first, second, third),) = run(train, 1, sample_losses)
    (batches,) = read_recording(tmp_path)
    assert batches.indices.tolist() == first + second + third
    assert batches.sizes.tolist() == [1] * 20
    assert batches.steps.tolist() == [0] * 8 + [1] * 8 + [2] * 4
    assert batches.losses.equal(sample_losses(batches.indices))


def test_what_is_said_of_the_run(tmp_path):
    train = bls(InfoBatch, 30, num_epochs=7, seed=5)
    train.record(tmp_path / "a" / "b")
    run(train, 1)
    assert read_run(tmp_path / "a" / "b") == {
        "method": "InfoBatch",
        "score": "BLS",
        "num_samples": 30,
        "num_epochs": 7,
        "seed": 5,
        "dataset": "Numbers",
        "dataset_length": 30,
        "settings": {
            "prune_ratio": 0.5,
            "delta": 0.875,
            "weighting": "unbiased",
            "alpha": 0.7,
            "initial": "first",
        },
        "version": __version__,
    }


def test_recording_changes_nothing(tmp_path):
    plain, recorded = bls(InfoBatch, 100), bls(InfoBatch, 100)
    recorded.record(tmp_path)
    assert run(plain, 4) == run(recorded, 4)
    assert plain.scores.equal(recorded.scores)
    assert plain.epoch == recorded.epoch == 4
    assert plain.summary().visits_made == recorded.summary().visits_made
    assert plain.state_dict()["epoch"] == recorded.state_dict()["epoch"]


def test_only_what_is_over_is_written(tmp_path):
    train = bls(NoPrune, 40)
    train.record(tmp_path)
    loader = DataLoader(train, batch_size=8, sampler=train.sampler)
    for step, batch in enumerate(loader):
        train.update(mean_loss(batch))
        train.scores, train.state_dict(), len(loader)  # folded, but not for good
        next(iter(DataLoader(train, batch_size=8)))  # so is this plan of the next epoch
        assert list(tmp_path.glob("*.npz")) == []
        if step == 1:
            break
    train_epoch(loader, mean_loss)
    assert [len(batches) for batches in read_recording(tmp_path)] == [2, 5]


def test_losses_that_are_not_finite_are_recorded_as_they_were(tmp_path):
    train = bls(NoPrune, 4)
    train.record(tmp_path)
    train.begin_epoch()
    for indices, loss in (([0, 1], 1.5), ([2, 3], float("nan"))):
        set_current(train, indices, torch.tensor(loss))
    train.end_epoch()
    (batches,) = read_recording(tmp_path)
    assert batches.losses[0] == 1.5
    assert batches.losses[1].isnan()


def test_a_resumed_run_goes_on_in_the_same_directory(tmp_path):
    train = bls(InfoBatch, 60)
    train.record(tmp_path)
    run(train, 2)
    loader = DataLoader(train, batch_size=8, sampler=train.sampler)
    for step, batch in enumerate(loader):
        train.update(mean_loss(batch))
        if step == 2:
            state = train.state_dict()
    run(train, 2)
    before = read_recording(tmp_path)
    assert len(before) == 5
    resumed = bls(InfoBatch, 60)
    resumed.load_state_dict(state)
    resumed.record(tmp_path)
    run(resumed, 1)
    after = read_recording(tmp_path)  # epochs 3 and 4 are to be repeated: they are not there now
    assert len(after) == 3
    for one, other in zip(before, after, strict=False):
        assert groups(one) == groups(other)
        assert one.losses.equal(other.losses)
        assert one.steps.equal(other.steps)
    run(resumed, 2)
    assert [groups(each) for each in read_recording(tmp_path)] == [groups(each) for each in before]


def test_a_directory_of_another_run(tmp_path):
    train = bls(InfoBatch, 40)
    train.record(tmp_path)
    run(train, 2)
    with pytest.raises(RuntimeError, match=r"recording of another run \(seed 0, not 1\)"):
        bls(InfoBatch, 40, seed=1).record(tmp_path)
    with pytest.raises(RuntimeError, match=r"another run \(dataset_length 40, not 50\)"):
        bls(InfoBatch, 50).record(tmp_path)
    other = InfoBatch(Numbers(40), 10)
    run(other, 1, sample_losses)
    other.record(tmp_path)  # with another score, which is known when it writes
    with pytest.raises(RuntimeError, match=r"another run \(score 'BLS', not 'SampleLoss'\)"):
        run(other, 1, sample_losses)
    assert len(read_recording(tmp_path)) == 2


@pytest.mark.parametrize(("loss_of", "a_visit"), [(mean_loss, 4.7), (sample_losses, 8.2)])
def test_size_of_the_files(tmp_path, loss_of, a_visit):
    """4 bytes an index, and 4 a loss; sizes and steps next to nothing."""
    train = NoPrune(Numbers(50_000), num_epochs=1)
    train.record(tmp_path)
    run(train, 1, loss_of, batch_size=64)
    (path,) = tmp_path.glob("epoch-*.npz")
    assert 4 * 50_000 < path.stat().st_size < a_visit * 50_000


def test_nothing_is_left_beside_the_files(tmp_path):
    train = bls(NoPrune, 40)
    train.record(tmp_path)
    run(train, 1)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "epoch-00000.npz",
        "epochs.jsonl",
        "run.json",
        "samples.npy",
    ]


def test_a_write_that_fails_is_loud_and_names_the_file(tmp_path, monkeypatch):
    train = bls(NoPrune, 40)
    train.record(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"epoch 0 cannot be recorded in .*epoch-00000.npz.*No space"):
        run(train, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        bls(NoPrune, 40).record(tmp_path / "file" / "run")


def recorded_on_rank(rank: int, folder: str, kind: str) -> list[list[int]]:
    dataset = Sharded(Numbers(41)) if kind == "sharded" else Numbers(41)
    train = NoPrune(dataset, num_epochs=2)
    if kind == "all" or kind == "sharded" or rank == 0:
        train.record(folder)
    loader = DataLoader(train, batch_size=4, sampler=train.sampler)
    epochs = [train_epoch(loader, lambda batch: batch.float().mean()) for _ in range(2)]
    return [[sample for batch in epoch for sample in batch] for epoch in epochs]


@pytest.mark.parametrize("kind", ["all", "first"])
def test_one_of_several_ranks_writes_what_all_have_measured(tmp_path, kind):
    served = on_ranks(2, recorded_on_rank, str(tmp_path), kind)
    recorded = read_recording(tmp_path)
    assert len(recorded) == 2
    for epoch, batches in enumerate(recorded):
        assert sorted(batches.indices.tolist()) == sorted(served[0][epoch] + served[1][epoch])
        members = groups(batches)
        means = [torch.tensor(each).float().mean().item() for each in members]
        assert batches.losses.tolist() == pytest.approx(means)


def test_ranks_that_are_apart_have_folders_of_their_own(tmp_path):
    served = on_ranks(2, recorded_on_rank, str(tmp_path), "sharded")
    for rank in range(2):
        recorded = read_recording(tmp_path / f"rank-{rank}")
        # a rank's own samples: how it numbers them does not matter here
        assert [len(each.indices) for each in recorded] == [len(each) for each in served[rank]]
    with pytest.raises(FileNotFoundError, match="give the folder of one rank"):
        read_recording(tmp_path)


def test_a_stream_is_recorded_by_the_fingerprints_of_its_keys(tmp_path):
    from dynaprune.data.keys import fingerprint

    stream = [{"key": f"image {i}", "value": i} for i in range(20)]
    dataset = PrunedIterableDataset(
        stream, key=lambda each: each["key"], decode=lambda each: each["value"]
    )
    train = NoPrune(dataset, num_epochs=2)
    train.record(tmp_path)
    loader = DataLoader(train, batch_size=5)
    for _ in range(2):
        for batch in loader:
            train.update(batch.float().mean())
    recorded = read_recording(tmp_path)
    expected = sorted(fingerprint(each["key"]) for each in stream)
    assert [sorted(each.indices.tolist()) for each in recorded] == [expected] * 2
    assert read_run(tmp_path)["num_samples"] == 20


def recording_of(folder: Path, epochs: int = 4) -> Path:
    train = bls(NoPrune, 40)
    train.record(folder)
    run(train, epochs)
    return folder


def test_a_recording_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recording .*nowhere: call train.record\("):
        read_recording(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no epoch, no file such as epoch-00000.npz"):
        read_recording(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no recording in .*has no run.json"):
        read_run(tmp_path)


def test_an_epoch_is_missing(tmp_path, caplog):
    recording_of(tmp_path)
    (tmp_path / "epoch-00001.npz").unlink()
    (tmp_path / "epoch-00002.npz").unlink()
    first, last = (unpack_losses(tmp_path / f"epoch-0000{number}.npz") for number in (0, 3))
    found = read_recording(tmp_path)
    assert [each.losses.tolist() for each in found] == [first.losses.tolist(), last.losses.tolist()]
    assert "has epochs 0 to 3, but not 1 to 2: the existing ones are read" in caplog.text
    assert epoch_numbers(tmp_path) == [0, 3]
    assert [each.number for each in read_epochs(tmp_path)] == [0, 1, 2, 3]
    caplog.clear()
    (tmp_path / "epoch-00000.npz").unlink()
    assert len(read_recording(tmp_path)) == 1
    assert caplog.text == ""


@pytest.mark.parametrize("damage", ["cut short", "a byte", "text", "npy", "no array", "no fit"])
def test_a_damaged_file(tmp_path, damage):
    path = recording_of(tmp_path) / "epoch-00002.npz"
    content = path.read_bytes()
    if damage == "cut short":
        path.write_bytes(content[:-40])
    elif damage == "a byte":
        at = content.index(b"NUMPY") + 150
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif damage == "text":
        path.write_text("epoch 2")
    elif damage == "npy":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    elif damage == "no array":
        np.savez(path, indices=np.arange(3))
    else:
        ones = np.ones(3, dtype=np.int32)
        np.savez(path, indices=np.arange(9), sizes=ones, losses=ones, steps=ones)
    with pytest.raises(RuntimeError, match=r"epoch-00002.npz, of [\d,]+ bytes, cannot be read"):
        read_recording(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_facts(tmp_path, content):
    recording_of(tmp_path)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RuntimeError, match=r"run.json is damaged"):
        read_run(tmp_path)


def test_an_epoch_of_which_no_batch_was_made_is_no_gap(tmp_path):
    train = bls(NoPrune, 10)
    train.record(tmp_path)
    run(train, 1)
    few = DataLoader(train, batch_size=16, sampler=train.sampler, drop_last=True)
    assert list(few) == []
    run(train, 1)
    assert [len(batches) for batches in read_recording(tmp_path)] == [2, 0, 2]
    assert json.loads((tmp_path / "run.json").read_text())["num_samples"] == 10


def test_a_kill_after_the_checkpoint_of_the_last_step_loses_no_epoch(tmp_path):
    """That state counts the epoch as over, so the epoch is recorded and logged before."""

    def made(folder, logged):
        train = bls(InfoBatch, 40)
        train.record(folder)
        train.log_to(SimpleNamespace(log=lambda metrics, epoch: logged.append((epoch, metrics))))
        return train, DataLoader(train, batch_size=8)

    def trained(train, loader, killed_in=None):
        for _ in range(train.epoch, 4):
            number, length = train.epoch, len(loader)
            for step, batch in enumerate(loader, start=1):
                train.update(mean_loss(batch))
                state = train.state_dict()
                if number == killed_in and step == length:
                    return state
        return state

    expected_logs, logs = [], []
    train, loader = made(tmp_path / "whole", expected_logs)
    trained(train, loader)
    train, loader = made(tmp_path / "killed", logs)
    state = trained(train, loader, killed_in=1)
    assert state["epoch"] == 2
    resumed, loader = made(tmp_path / "killed", logs)
    resumed.load_state_dict(state)
    trained(resumed, loader)
    expected, found = (read_recording(tmp_path / each) for each in ("whole", "killed"))
    assert len(expected) == len(found) == 4
    for one, other in zip(expected, found, strict=True):
        assert one.indices.equal(other.indices)
        assert one.losses.equal(other.losses)
    assert [epoch for epoch, _ in logs] == [epoch for epoch, _ in expected_logs] == [0, 1, 2, 3]
    for (_, one), (_, other) in zip(expected_logs, logs, strict=True):
        timed = {"pruning/seconds"}
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in other.items() if k not in timed
        }
