"""Checkpoints in the middle of an epoch: the resumed run is the uninterrupted one, bit by bit."""

from __future__ import annotations

import copy
import fcntl
import os
import pickle
import re
import signal
import stat
import threading
import zipfile
import zlib

import numpy as np
import pytest
import torch
from helpers import (
    Numbers,
    bls,
    check_same_counts,
    mean_loss,
    sample_losses,
    train_epoch,
    train_in_pieces,
)
from stopped_runs import EPOCHS, train_on
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.stateful import Stateful

from dynaprune import (
    DataLoader,
    InfoBatch,
    NoPrune,
    RandomPrune,
    SeTa,
    StaticPrune,
    load_checkpoint,
    save_checkpoint,
)
from dynaprune.training.checkpoint import whole_file
from dynaprune.training.checksum import sealed

LOADERS = [
    {},
    {"drop_last": True},
    {"num_workers": 2, "prefetch_factor": 4},
    {"num_workers": 1, "persistent_workers": True},
    {"batch_size": None},
]


@pytest.mark.parametrize("arguments", LOADERS)
@pytest.mark.parametrize("method", [InfoBatch, SeTa, RandomPrune, StaticPrune, NoPrune])
def test_stopped_and_resumed_many_times(method, arguments, tmp_path):
    """Also several times in one epoch: a state is saved every few batches, and only it is kept."""
    whole = bls(method, 60)
    expected, end = train_on(whole, **arguments)
    served, train, state = train_in_pieces(lambda: bls(method, 60), train_on, tmp_path, **arguments)
    assert served == expected
    assert train.scores.equal(whole.scores)
    check_same_counts(train, whole)
    assert state["score"]["values"].equal(end["score"]["values"])


def test_with_sample_losses():
    whole = InfoBatch(Numbers(60), EPOCHS)
    expected, _ = train_on(whole, loss_of=sample_losses)
    first, second = InfoBatch(Numbers(60), EPOCHS), InfoBatch(Numbers(60), EPOCHS)
    served, state = train_on(first, stop_after=12, loss_of=sample_losses)
    second.load_state_dict(state)
    assert served + train_on(second, loss_of=sample_losses)[0] == expected
    assert second.scores.equal(whole.scores)


def test_a_state_before_the_update_has_its_batch_still_due():
    train = bls(NoPrune, 21)
    loader = DataLoader(train, batch_size=7)
    for step, batch in enumerate(loader):
        if step == 1:
            state, unseen = train.state_dict(), batch.tolist()
        train.update(mean_loss(batch))
    other = bls(NoPrune, 21)
    other.load_state_dict(state)
    assert next(iter(DataLoader(other, batch_size=7))).tolist() == unseen


def test_saving_and_loading_change_nothing():
    whole = bls(InfoBatch, 60)
    expected, _ = train_on(whole)
    train = bls(InfoBatch, 60)
    served = []
    for epoch in range(EPOCHS):
        for batch in DataLoader(train, batch_size=7):
            train.update(mean_loss(batch))
            before = copy.deepcopy(train.state_dict())
            served.append((epoch, batch.tolist()))
            other = bls(InfoBatch, 60)
            other.load_state_dict(before)
            again = other.state_dict()
            assert before.keys() == again.keys()
            for name in ("indices", "sizes", "losses", "steps"):
                assert before["progress"][name].equal(again["progress"][name])
            assert other.epoch == (
                train.epoch if train.epochs.position.samples_due() else train.epoch + 1
            )
            assert other.progress == pytest.approx(train.progress)
    assert served == expected


def test_looking_at_a_resumed_epoch_changes_nothing():
    train = bls(InfoBatch, 60)
    served, state = train_on(train, stop_after=3)
    expected = train_on(bls(InfoBatch, 60))[0]
    other = bls(InfoBatch, 60)
    other.load_state_dict(state)
    loader = DataLoader(other, batch_size=7)
    assert len(loader) == 6  # of 9
    for _ in range(3):
        assert next(iter(loader)).tolist() == expected[3][1]
    assert len(loader) == 6
    assert len(other.sampler) == 60 - 21
    assert served + train_on(other)[0] == expected


def test_loading_within_a_loop():
    train = bls(InfoBatch, 60)
    iterator = iter(DataLoader(train, batch_size=7))
    train.update(mean_loss(next(iterator)))
    state = train.state_dict()
    train.update(mean_loss(next(iterator)))
    train.load_state_dict(state)
    batch = next(iterator)
    with pytest.raises(
        RuntimeError, match=r"before load_state_dict\(\) was called: leave that loop"
    ):
        train.update(mean_loss(batch))
    assert len(train.sampler) == 53


def test_ending_a_resumed_epoch():
    train = bls(InfoBatch, 60)
    _, state = train_on(train, stop_after=3)
    other = bls(InfoBatch, 60)
    other.load_state_dict(state)
    other.end_epoch()
    assert (other.epoch, other.summary().visits_made) == (1, 21)
    other.end_epoch()
    assert other.epoch == 1


def test_a_resumed_epoch_may_be_too_short_for_a_batch(caplog):
    """Another batch size now: what was due makes no batch, and the epoch is over."""
    train = bls(NoPrune, 21)
    _, state = train_on(train, stop_after=2)
    other = bls(NoPrune, 21)
    other.load_state_dict(state)
    loader = DataLoader(other, batch_size=8, drop_last=True)
    assert list(loader) == []
    assert other.epoch == 1
    assert len(list(loader)) == 2
    assert "makes no batch" not in caplog.text


def test_another_batch_size_after_resuming():
    train = bls(InfoBatch, 60)
    served, state = train_on(train, stop_after=3)
    other = bls(InfoBatch, 60)
    other.load_state_dict(state)
    rest = train_on(other, 1, batch_size=4)[0]
    assert sorted(i for _, batch in served + rest for i in batch) == list(range(60))


class Noisy(Numbers):
    """Random augmentation by the global generator of torch."""

    def __getitem__(self, index):
        return torch.tensor([float(index), float(torch.rand(()))])


def test_random_numbers_of_the_loop_go_on():
    """The model's dropout and, without workers, augmentation: with torch's state restored."""

    def run(train, stop_after=None):
        loader = DataLoader(train, batch_size=7)
        numbers = []
        for _ in range(train.epoch, 3):
            for batch in loader:
                train.update(mean_loss(batch[:, 0]) + torch.rand(()))  # as by dropout
                numbers.append((batch.tolist(), float(torch.rand(()))))
                if len(numbers) == stop_after:
                    return numbers, (train.state_dict(), torch.get_rng_state())
        return numbers, None

    def make():
        return type(bls(InfoBatch, 60))(Noisy(60), 10)

    from dynaprune import BLS

    torch.manual_seed(0)
    expected, _ = run(BLS(make()).proxy())
    torch.manual_seed(0)
    served, (state, random_state) = run(BLS(make()).proxy(), stop_after=5)
    torch.manual_seed(123)
    train = BLS(make()).proxy()
    train.load_state_dict(state)
    torch.set_rng_state(random_state)
    assert served + run(train)[0] == expected


@pytest.mark.parametrize("generator", [None, 5])
def test_workers_of_a_resumed_epoch_have_seeds_of_their_own(generator):
    def noise(train, given):
        made = None if given is None else torch.Generator().manual_seed(given)
        torch.manual_seed(0)
        loader = DataLoader(train, batch_size=7, num_workers=1, generator=made)
        return next(iter(loader))[0, 1].item(), loader

    fresh, _ = noise(InfoBatch(Noisy(60), 10), generator)
    train = bls(InfoBatch, 60)
    _, state = train_on(train, stop_after=3)
    from dynaprune import BLS

    state["dataset"] = "Noisy"
    other = BLS(InfoBatch(Noisy(60), 10)).proxy()
    other.load_state_dict(sealed(state))
    resumed, loader = noise(other, generator)
    assert resumed != fresh
    if generator is None:
        torch.manual_seed(0)
        untouched = torch.get_rng_state()
        next(iter(loader))
        assert torch.get_rng_state().equal(untouched)


# The protocol of torchdata


def test_the_loader_is_stateful():
    loader = DataLoader(bls(InfoBatch, 60), batch_size=7)
    assert isinstance(loader, Stateful)
    plain = DataLoader(Numbers(10))
    assert plain.state_dict() == {}
    plain.load_state_dict({})
    with pytest.raises(RuntimeError, match="serves a Numbers, which is not pruned"):
        plain.load_state_dict(loader.state_dict())


def test_a_stateful_dataloader_without_the_state_of_the_dataset():
    train = bls(InfoBatch, 60)
    served, _ = train_on(train, 2)
    loader = StatefulDataLoader(train.with_indices(), batch_size=7, sampler=train.sampler)
    next(iter(loader))
    state = loader.state_dict()
    assert served
    other = bls(InfoBatch, 60)
    loader = StatefulDataLoader(other.with_indices(), batch_size=7, sampler=other.sampler)
    loader.load_state_dict(state)
    with pytest.raises(RuntimeError, match="taken in epoch 2, but .* in epoch 0: .* first"):
        next(iter(loader))


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("save_loader", [True, False])
def test_inside_a_stateful_dataloader(workers, save_loader, every):
    """It keeps count of batches, and skips those since its last snapshot."""

    def make():
        train = bls(InfoBatch, 60)
        loader = StatefulDataLoader(
            train.with_indices(),
            batch_size=7,
            sampler=train.sampler,
            num_workers=workers,
            snapshot_every_n_steps=every,
        )
        return train, loader

    def run(train, loader, stop_after=None):
        served = []
        for epoch in range(train.epoch, 4):
            for numbers, indices in loader:
                assert numbers.equal(indices)
                train.update(mean_loss(numbers), indices=indices)
                served.append((epoch, numbers.tolist()))
                if len(served) == stop_after:
                    return served, copy.deepcopy((train.state_dict(), loader.state_dict()))
            train.end_epoch()
        return served, None

    whole = make()
    expected, _ = run(*whole)
    served, states = [], None
    for steps in (3, 4, 8, 2, 100):
        train, loader = make()
        if states is not None:
            train.load_state_dict(states[0])
            if save_loader:
                loader.load_state_dict(states[1])
        more, states = run(train, loader, stop_after=steps)
        served += more
    assert served == expected
    assert train.scores.equal(whole[0].scores)


def test_a_stateful_dataloader_that_will_skip_batches_of_the_next_epoch(caplog):
    train = bls(NoPrune, 60)
    loader = StatefulDataLoader(
        train.with_indices(),
        batch_size=6,
        sampler=train.sampler,
        num_workers=1,
        snapshot_every_n_steps=4,
    )
    for numbers, indices in loader:
        train.update(mean_loss(numbers), indices=indices)
        states = copy.deepcopy((train.state_dict(), loader.state_dict()))
    train.load_state_dict(states[0])
    loader.load_state_dict(states[1])
    next(iter(loader))
    assert "state is from epoch 0, 12 samples before its end, but the pruned dataset" in caplog.text
    assert "load it alone" in caplog.text


# Damaged states


def damaged(change):
    state = copy.deepcopy(train_on(bls(InfoBatch, 60), stop_after=12)[1])
    change(state)
    return sealed(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("progress"), "the state is incomplete, it has no progress"),
        (lambda s: s["progress"].pop("losses"), "the state's progress is incomplete, it has no lo"),
        (
            lambda s: s["progress"].update(losses=s["progress"]["losses"][:-1]),
            "damaged: its sizes, losses and steps are not of one length",
        ),
        (
            lambda s: s["progress"].update(indices=s["progress"]["indices"][:-1]),
            "damaged: its sizes do not sum to the number of its samples",
        ),
        (
            lambda s: s["progress"].update(losses=s["progress"]["losses"].double()),
            "damaged: its losses are no torch.float32 of one dimension",
        ),
        (lambda s: s["progress"]["indices"].add_(60), "must be sample numbers from 0 to 59"),
        (lambda s: s["score"].update(values=torch.zeros(61)), "holds scores of 61 samples"),
        (
            lambda s: s["score"]["values"].mul_(-1),
            "epoch 1, for which the arguments",
        ),
    ],
)
def test_a_damaged_state_leaves_the_object_as_it_was(change, message):
    train, twin = bls(InfoBatch, 60), bls(InfoBatch, 60)
    for each in (train, twin):
        train_on(each, stop_after=5)
    state = copy.deepcopy(train.state_dict())
    with pytest.raises(RuntimeError, match=re.escape(message)):
        train.load_state_dict(damaged(change))
    after = train.state_dict()
    assert after["epoch"] == state["epoch"]
    assert after["score"]["values"].equal(state["score"]["values"])
    assert after["progress"]["indices"].equal(state["progress"]["indices"])
    assert train_on(train)[0] == train_on(twin)[0]


def test_other_arguments_in_the_middle_of_an_epoch():
    _, state = train_on(bls(InfoBatch, 60), stop_after=12)
    other = bls(InfoBatch, 60, prune_ratio=0.9)
    with pytest.raises(RuntimeError, match="epoch 1, for which the arguments of this"):
        other.load_state_dict(state)
    assert other.epoch == 0


def test_states_of_an_epoch_left_early_are_of_the_next():
    train = bls(InfoBatch, 60)
    train_epoch(DataLoader(train, batch_size=7), mean_loss, stop_after=3)
    assert train.epoch == 1
    other = bls(InfoBatch, 60)
    other.load_state_dict(train.state_dict())
    assert (other.epoch, other.progress) == (1, 1.0)
    assert other.scores.equal(train.scores)


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


@pytest.mark.skipif(
    not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"), reason="torch before 2.6"
)
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
