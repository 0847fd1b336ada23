"""Loaders of a stream: workers, resuming, lengths and looks."""

from __future__ import annotations

import copy
import gc
import logging
import pickle

import numpy as np
import pytest
import torch
from every_method import EACH_KIND
from helpers import check_same_counts, mean_loss, train_in_pieces
from streams import LOADERS, Split, Stored, bls_stream, run, second, stream_of, visits_of

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, PrunedIterableDataset, PrunedScheduler
from dynaprune.loading.shared_arrays import SharedArrays
from dynaprune.methods import StaticPrune


@pytest.mark.parametrize("arguments", LOADERS)
@pytest.mark.parametrize("method", EACH_KIND)
def test_stopped_and_resumed_many_times(method, arguments, tmp_path):
    """Also several times in one epoch, the first one included, in which no key is known."""
    whole = bls_stream(method, 60)
    expected, end = run(whole, **arguments)
    served, train, state = train_in_pieces(
        lambda: bls_stream(method, 60), run, tmp_path, **arguments
    )
    assert served == expected
    assert train.scores.equal(whole.scores)
    check_same_counts(train, whole)
    assert state["score"]["keys"].equal(end["score"]["keys"])


def test_resumed_with_another_number_of_workers_and_batch_size():
    _, state = run(bls_stream(InfoBatch), stop_after=20, num_workers=2)
    before, _ = run(bls_stream(InfoBatch), stop_after=20)
    train = bls_stream(InfoBatch)
    train.load_state_dict(state)
    after, _ = run(train, 2, batch_size=5)
    kept = visits_of(run(bls_stream(InfoBatch), 2)[0], 1)
    assert visits_of(before, 1) + visits_of(after, 1) == kept


def test_a_stream_that_splits_itself_is_served_once_and_resumes():
    def train_set():
        return BLS(InfoBatch(stream_of(Split(100), splits_itself=True), 10)).proxy()

    whole = train_set()
    served, _ = run(whole, num_workers=2)
    assert sorted(visits_of(served, 0)) == list(range(100))
    for epoch in range(1, 5):
        visits = visits_of(served, epoch)
        assert len(set(visits)) == len(visits) < 100
    before, state = run(train_set(), stop_after=18, num_workers=2)
    train = train_set()
    train.load_state_dict(state)
    after, _ = run(train, num_workers=2)
    # whole batches, some in another order: which worker's turn it is nobody knows
    assert sorted(visits_of(before + after, 1)) == sorted(visits_of(served, 1))


def test_workers_that_do_not_read_the_same_are_noticed_at_once():
    train = BLS(InfoBatch(stream_of(Split(100)), 10)).proxy()
    with pytest.raises(RuntimeError, match="splits_itself=True"):
        list(DataLoader(train, batch_size=5, num_workers=2))


def test_a_stream_that_does_not_split_itself_as_it_should_is_warned_of(caplog):
    train = BLS(InfoBatch(stream_of(Stored(50), splits_itself=True), 10)).proxy()
    with caplog.at_level(logging.WARNING, "dynaprune"):
        run(train, 2, num_workers=2)
    assert "100 sample visits 50 were of a key that had come before" in caplog.text


def test_lengths_and_schedules_where_the_number_of_samples_is_said():
    train = BLS(
        InfoBatch(stream_of(Stored(100), num_samples=100), 6, saving=0.3, delta=1.0)
    ).proxy()
    loader = DataLoader(train, batch_size=10)
    assert (len(loader), loader.batches_per_full_epoch) == (10, 10)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
    scheduler = PrunedScheduler(cosine, loader, 10)
    visits = 0
    for epoch in range(6):
        length, batches = len(loader), 0
        for batch in loader:
            train.update(mean_loss(batch))
            optimizer.step()
            scheduler.step()
            batches += 1
            visits += len(batch)
        assert batches == length
        assert cosine.last_epoch == 10 * (epoch + 1)
    assert visits == round(0.7 * 600)  # exactly what saving= asks for


def test_lengths_where_it_is_not():
    train = bls_stream(InfoBatch)
    loader = DataLoader(train, batch_size=10)
    with pytest.raises(TypeError, match="num_samples="):
        len(loader)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    steps = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step)
    scheduler = PrunedScheduler(steps, loader, 10)
    for batch in loader:  # nobody knows where the first pass ends: one step at a time
        train.update(mean_loss(batch))
        optimizer.step()
        scheduler.step()
    assert steps.last_epoch == 10
    assert len(loader) == 10  # behind the loop: of its epoch
    iterator = iter(loader)
    next(iterator)
    assert len(loader) == -(-train.next_selection().indices.numel() // 10)


def test_leaving_early_ends_the_epoch_and_a_look_changes_nothing():
    train = bls_stream(InfoBatch)
    loader = DataLoader(train, batch_size=10, num_workers=2)
    looked = next(iter(loader))
    assert train.epoch == 0
    for step, batch in enumerate(loader):
        if step == 0:
            assert batch.equal(looked)
        train.update(mean_loss(batch))
        if step == 4:
            break
    assert train.epoch == 1
    assert len(train) == 50
    served, _ = run(train, 2, loader=loader)
    assert len(train) == 100
    assert len(set(visits_of(served, 1))) > 50  # 50 that are not known yet, and what is kept


def test_a_worker_init_fn_reads_and_writes_the_stream():
    class Parts:
        def __init__(self):
            self.first, self.last = 0, 40

        def __iter__(self):
            return ((i, i) for i in range(self.first, self.last))

    def split(worker):
        parts = torch.utils.data.get_worker_info().dataset
        parts.first, parts.last = worker * 20, worker * 20 + 20

    train = BLS(NoPrune(stream_of(Parts(), splits_itself=True), 2)).proxy()
    served, _ = run(train, 2, num_workers=2, worker_init_fn=split)
    assert sorted(visits_of(served, 1)) == list(range(40))


def test_spawned_workers_and_pickles():
    stream = PrunedIterableDataset(Stored(30), key=0, decode=second, shuffle=5)
    train = BLS(InfoBatch(stream, 5)).proxy()
    expected, _ = run(bls_stream(InfoBatch, 30, shuffle=5, num_epochs=5), 2)
    served, _ = run(train, 2, num_workers=1, multiprocessing_context="spawn")
    assert served == expected
    again = copy.deepcopy(train)
    assert again.scores.equal(train.scores)


def test_the_loader_of_torch_does_not_serve_a_stream():
    train = bls_stream(InfoBatch, 20)
    with pytest.raises(TypeError, match="no length before its first pass"):
        torch.utils.data.DataLoader(train, batch_size=4, shuffle=True)
    assert train
    run(train, 1)
    with pytest.raises(RuntimeError, match="use the DataLoader of dynaprune"):
        next(iter(torch.utils.data.DataLoader(train, batch_size=4)))


def test_a_look_takes_the_workers_that_live_on_from_the_loop():
    """torch has one iterator then, and begins it anew: no other loop may go on with it."""
    train = bls_stream(NoPrune, 80)
    loader = DataLoader(train, batch_size=4, num_workers=1, persistent_workers=True)
    batches = iter(loader)
    for _ in range(3):
        train.update(mean_loss(next(batches)))
    next(iter(loader))
    with pytest.raises(RuntimeError, match="leave persistent_workers out"):
        list(batches)


def test_what_is_left_of_a_pass_that_is_resumed_is_its_length():
    train = BLS(InfoBatch(stream_of(Stored(100), num_samples=100), 10)).proxy()
    _, state = run(train, stop_after=7, batch_size=10)
    again = BLS(InfoBatch(stream_of(Stored(100), num_samples=100), 10)).proxy()
    again.load_state_dict(state)
    loader = DataLoader(again, batch_size=10)
    assert len(loader) == 3 == len(list(loader))


def test_a_copy_of_a_loader_tells_its_workers_itself():
    loader = DataLoader(bls_stream(NoPrune, 20), batch_size=5, num_workers=1)
    assert len(list(loader)) == 4
    other = copy.deepcopy(loader)
    assert len(list(loader)) == len(list(other)) == len(list(loader)) == 4


def test_workers_are_told_by_files_that_go_with_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shared = SharedArrays()
    keys = np.arange(5)
    for epoch in range(6):
        shared.publish({"epoch": epoch, "keys": keys, "weights": np.full(5, epoch)})
    copied = pickle.loads(pickle.dumps(shared))
    shared.publish({"epoch": 6, "keys": keys, "weights": np.empty(0)})
    read = copied.read(latest=False)
    assert (read["epoch"], read["weights"].tolist()) == (5, [5] * 5)
    latest = copied.read(latest=True)
    assert (latest["epoch"], latest["keys"].tolist()) == (6, [0, 1, 2, 3, 4])
    assert latest["weights"].size == 0
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["5", "6", "7", "latest"]
    one, other = (folder / issue / "keys.npy" for issue in ("6", "7"))
    assert one.samefile(other)  # what has not changed is not written again
    del shared
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_look_in_the_first_pass_of_a_stream_of_unknown_length():
    train = bls_stream(StaticPrune, 40, saving=0.5)
    loader, steps = DataLoader(train, batch_size=4), 0
    for batch in loader:
        train.update(mean_loss(batch))
        steps += 1
        assert len(next(iter(loader))) == 4
    assert steps == 10
    assert train.epoch == 1
