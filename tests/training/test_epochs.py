"""The life of an epoch: when one begins, ends, is served again, and what len() says."""

from __future__ import annotations

import logging

import pytest
import torch
from helpers import bls, mean_loss, train_epoch
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR

from dynaprune import (
    BLS,
    DataLoader,
    InfoBatch,
    NoPrune,
    PrunedDataset,
    RandomPrune,
    Selection,
    SeTa,
)


@pytest.mark.parametrize("workers", [0, 2])
def test_looking_at_a_batch_changes_nothing(workers):
    runs = []
    for looks in (False, True):
        train = bls(InfoBatch, 60)
        loader = DataLoader(train, batch_size=7, num_workers=workers)
        served = []
        for _ in range(5):
            for step, batch in enumerate(loader):
                if looks and step in (0, 3):  # before the first update, and after some
                    next(iter(loader))
                    assert len(loader) > step
                train.update(mean_loss(batch))
                served.append(batch.tolist())
            if looks:
                length = len(loader)
                first = next(iter(loader)).tolist()
                assert next(iter(loader)).tolist() == first
                assert len(loader) == length
        runs.append((served, train.scores.tolist(), train.epoch, train.summary().visits_made))
    assert runs[0] == runs[1]


def test_evaluating_on_the_training_loader_changes_nothing():
    """A whole loop without updates, inside an epoch and between two."""
    runs = []
    for evaluates in (False, True):
        train = bls(InfoBatch, 60)
        loader = DataLoader(train, batch_size=7)
        served = []
        for _ in range(4):
            for step, batch in enumerate(loader):
                if evaluates and step == 2:
                    assert sum(inner.numel() for inner in loader) > 0
                train.update(mean_loss(batch))
                served.append(batch.tolist())
            if evaluates:
                assert sum(inner.numel() for inner in loader) == len(train.sampler)
        runs.append((served, train.scores.tolist(), train.epoch))
    assert runs[0] == runs[1]


def test_an_epoch_without_updates_is_served_again():
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=7)
    first = [batch.tolist() for batch in loader]
    assert [batch.tolist() for batch in loader] == first
    assert train.epoch == 0
    assert train_epoch(loader, mean_loss) == first
    assert train.epoch == 1


def test_an_epoch_left_after_updates_is_over():
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=7)
    served = train_epoch(loader, mean_loss, stop_after=3)
    assert train.epoch == 1
    assert train.scores.unique().numel() > 1
    following = train_epoch(loader, mean_loss)
    assert following[:3] != served
    assert train.epoch == 2
    assert train.summary().epochs == 2


def test_leaving_by_an_exception_is_over_too():
    train = bls(RandomPrune, 60)
    loader = DataLoader(train, batch_size=7)

    def interrupted():
        for step, batch in enumerate(loader):
            train.update(mean_loss(batch))
            if step == 2:
                raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    train_epoch(loader, mean_loss)
    train_epoch(loader, mean_loss)
    assert train.summary().epochs >= 4  # an interrupted loop that is kept alive may repeat once


def test_one_iterator_across_epochs():
    """Loops that count steps, and restart the iterator when it is exhausted."""
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=7)
    batches = iter(loader)
    epochs = []
    for _ in range(30):
        try:
            batch = next(batches)
        except StopIteration:
            batches = iter(loader)
            batch = next(batches)
        train.update(mean_loss(batch))
        epochs.append(train.epoch)
    assert epochs == sorted(epochs)
    assert epochs[-1] >= 3
    assert train.summary().epochs == epochs[-1] + 1


def test_a_step_at_a_time_on_one_batch():
    train = bls(InfoBatch, 60)
    batch = next(iter(DataLoader(train, batch_size=7)))
    train.update(mean_loss(batch))
    assert train.summary().visits_made == 7


def test_length_is_right_before_during_and_after_an_epoch():
    train = bls(InfoBatch, 100)
    loader = DataLoader(train, batch_size=8, num_workers=2, prefetch_factor=4)
    for _ in range(6):
        length = len(loader)
        for step, batch in enumerate(loader, start=1):
            assert len(loader) == length
            train.update(mean_loss(batch))
            assert len(loader) == length  # `if step == len(loader)` after the last update
            last = step == len(loader)
        assert last
        assert len(loader) == length  # of the epoch that the loop has served
        assert len(loader.batch_sampler) == -(-len(train.sampler) // 8)  # of the coming one


def test_the_sampler_is_a_fresh_iterator_each_time():
    train = bls(InfoBatch, 60)
    sampler = train.sampler
    first, second = iter(sampler), iter(sampler)
    assert next(first) == next(second)
    assert iter(first) is first  # an iterator, not the sampler that starts again
    assert len(list(first)) == 59
    assert list(first) == []
    assert len(list(torch.utils.data.BatchSampler(sampler, 7, False))) == 9  # it ends


def test_chunks_of_a_long_epoch():
    train = BLS(NoPrune(range(200_000), 2)).proxy()
    served = list(train.sampler)
    assert sorted(served) == list(range(200_000))
    assert all(type(index) is int for index in served[::1000])


def test_indices_above_2_to_the_24():
    """float32 has no odd numbers there: indices must never pass through it."""
    first = 2**24
    train = BLS(NoPrune(range(first + 101), 2), alpha=0.0).proxy()
    train.begin_epoch()
    train.update(torch.tensor(1.0), indices=[0])
    train.update(torch.tensor(2.0), indices=[first + 1, first + 3])
    train.update(torch.tensor([3.0, 4.0]), indices=[first + 99, first + 100])
    tail = train.scores[first:]
    assert tail.nonzero().flatten().numel() == 101  # all start at the first batch's loss
    assert tail.ne(1).nonzero().flatten().tolist() == [1, 3, 99, 100]
    assert tail[[1, 3, 99, 100]].tolist() == [2.0, 2.0, 3.0, 4.0]


def test_indices_above_2_to_the_24_in_the_loader():

    class Last(PrunedDataset):
        def select(self, scores, epoch, generator):
            return Selection(torch.arange(len(self) - 100, len(self)))

    train = BLS(Last(range(2**24 + 101), 2), alpha=0.0).proxy()
    for batch in DataLoader(train, batch_size=10):
        assert batch.min() > 2**24
        train.update((batch - 2**24).float())
    assert train.scores[-100:].tolist() == list(range(1, 101))


@pytest.mark.parametrize("method", [InfoBatch, SeTa, RandomPrune])
def test_one_cycle_built_from_len_loader_does_not_run_past_its_end(method):
    """In the first epoch: a loader that told too short a length would raise there."""
    train = bls(method, 100, num_epochs=8)
    loader = DataLoader(train, batch_size=8)
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = OneCycleLR(optimizer, max_lr=1.0, epochs=8, steps_per_epoch=len(loader))
    steps = []
    for _ in range(8):
        for batch in loader:
            train.update(mean_loss(batch))
            optimizer.step()
            scheduler.step()
        steps.append(scheduler.last_epoch)
    assert steps[0] == scheduler.total_steps // 8
    assert steps[-1] <= scheduler.total_steps


def test_two_loaders_of_one_dataset():
    """A new loader each epoch, as with a batch size that grows."""
    train = bls(InfoBatch, 60)
    for epoch, batch_size in enumerate([4, 8, 16, 32]):
        assert train.epoch == epoch
        train_epoch(DataLoader(train, batch_size=batch_size), mean_loss)
    assert train.summary().epochs == 4


def test_two_datasets_in_one_loop():
    pair = [bls(InfoBatch, 60, seed=seed) for seed in (1, 2)]
    loaders = [DataLoader(train, batch_size=8) for train in pair]
    alone = bls(InfoBatch, 60, seed=2)
    for _ in range(4):
        for first, second in zip(*loaders, strict=False):
            pair[0].update(mean_loss(first))
            pair[1].update(mean_loss(second))
    for _ in range(1):
        served = train_epoch(DataLoader(alone, batch_size=8), mean_loss)
    assert len(served) == 8
    assert pair[0].summary().epochs == pair[1].summary().epochs == 4


def test_summary_counts_visits():
    train = bls(RandomPrune, 100, saving=0.25)
    loader = DataLoader(train, batch_size=10)
    assert train.summary().share_saved == 0.0
    for _ in range(4):
        train_epoch(loader, mean_loss)
    summary = train.summary()
    assert (summary.epochs, summary.visits_made, summary.visits_avoided) == (4, 300, 100)
    assert summary.share_saved == 0.25
    assert summary.seconds > 0
    assert summary.planning_seconds > 0
    assert repr(train) == (
        "RandomPrune(100 samples of Numbers, num_epochs=10, seed=0, epoch 4, scored by BLS)"
    )
    assert str(summary).startswith(
        "4 epochs, 300 sample visits made and 100 avoided (25.0% saved) in"
    )


def test_summary_of_an_epoch_left_early_is_in_proportion():
    train = bls(RandomPrune, 100, saving=0.5)
    train_epoch(DataLoader(train, batch_size=10), mean_loss, stop_after=2)
    summary = train.summary()
    assert (summary.visits_made, summary.visits_avoided) == (20, 20)


def test_one_log_line_an_epoch(caplog):
    caplog.set_level(logging.INFO, logger="dynaprune")
    train = bls(RandomPrune, 100, saving=0.25)
    loader = DataLoader(train, batch_size=10)
    for _ in range(3):
        next(iter(loader))
        train_epoch(loader, mean_loss)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert lines[0].startswith(
        "epoch 0: serving 75 of 100 samples (25.0% skipped), 0.0% of visits saved before"
    )
    assert lines[2].startswith(
        "epoch 2: serving 75 of 100 samples (25.0% skipped), 25.0% of visits saved before"
    )


def test_the_library_never_prints(capfd):
    train = bls(InfoBatch, 50)
    for _ in range(3):
        train_epoch(DataLoader(train, batch_size=10), mean_loss)
    assert capfd.readouterr() == ("", "")


def test_end_epoch_for_another_librarys_loader():
    train = bls(InfoBatch, 60)
    train.end_epoch()  # nothing was trained yet
    assert train.epoch == 0
    loader = torch.utils.data.DataLoader(train.with_indices(), 7, sampler=train.sampler)
    for numbers, indices in loader:
        train.update(mean_loss(numbers), indices=indices)
    assert len(train.sampler) == 60  # nobody has said that the epoch is over
    train.end_epoch()
    assert len(train.sampler) < 60
    assert train.epoch == 1


def test_weights_follow_the_epoch():
    train = bls(InfoBatch, 60)
    assert train.weights.tolist() == [1.0] * 60
    train_epoch(DataLoader(train, batch_size=7), mean_loss)
    weights = train.weights
    plan = train.begin_epoch()
    assert (weights > 1).sum() > 0
    assert weights[plan.order].sum().item() == pytest.approx(60)


def test_with_numbers_of_another_process():
    """Datasets are what workers get, not scores or records."""
    import pickle

    train = bls(InfoBatch, 100_000)
    assert len(pickle.dumps(train.with_indices())) < 1000
    loader = DataLoader(train)
    assert len(pickle.dumps(loader._fetcher.loader.dataset)) < 1000
