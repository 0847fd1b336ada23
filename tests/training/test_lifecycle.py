"""Loops that handle iterators by hand, interrupt them, or get no batch at all."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, mean_loss, sample_losses, train_epoch

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, PrunedDataset, Selection, SeTa

LOADERS = [
    {},
    {"num_workers": 1},
    {"num_workers": 1, "persistent_workers": True},
    {"batch_size": None},
]


def check_plan(train, batch):
    """A batch is of the plan that its update is booked on."""
    assert set(np.atleast_1d(batch).tolist()) <= set(train.epochs.plan.order.tolist())


@pytest.mark.parametrize("arguments", LOADERS)
def test_iterators_by_hand(arguments):
    """The old iterator is alive, at its last batch, while the next one is made."""
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, **{"batch_size": 5, **arguments})
    for epoch in range(5):
        iterator = iter(loader)
        for _ in range(len(loader)):
            batch = next(iterator)
            train.update(mean_loss(batch))
            check_plan(train, batch)
        assert train.epoch == epoch
    assert train.summary().epochs == 5
    assert train.summary().visits_avoided > 0


@pytest.mark.parametrize("arguments", LOADERS)
def test_a_fixed_number_of_steps_an_epoch(arguments):
    """Fewer than there are batches, with the old iterator still alive: left early each time."""
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, **{"batch_size": 5, **arguments})
    for epoch in range(6):
        iterator = iter(loader)
        for _ in range(4):
            batch = next(iterator)
            train.update(mean_loss(batch))
            check_plan(train, batch)
        assert train.epoch == epoch
        assert len(train.epochs.record) == 4
    assert train.summary().epochs == 6


@pytest.mark.parametrize("arguments", [each for each in LOADERS if len(each) < 2])
def test_iterators_begun_ahead(arguments):
    """The next epoch's iterator is made, so that its workers start, before this one ends."""
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, **{"batch_size": 5, **arguments})
    iterator = iter(loader)
    for epoch in range(4):
        batches = [next(iterator) for _ in range(1)]
        train.update(mean_loss(batches[0]))
        check_plan(train, batches[0])
        following = iter(loader)
        for batch in iterator:
            train.update(mean_loss(batch))
            check_plan(train, batch)
        assert train.summary().epochs == epoch + 1
        iterator = following


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_loop_that_is_kept_alive(workers):
    """A notebook keeps the frame of the last exception, and with it the loop's iterator."""
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=5, num_workers=workers)
    kept = iter(loader)
    for _ in range(3):
        train.update(mean_loss(next(kept)))
    interrupted_in_forward = next(kept)
    assert interrupted_in_forward is not None
    for epoch in range(1, 4):
        train_epoch(loader, mean_loss)
        assert train.epoch == epoch + 1
    assert train.summary().epochs == 4


def test_looking_with_an_iterator_that_is_kept():
    runs = []
    for looks in (False, True):
        train = bls(InfoBatch, 60)
        loader = DataLoader(train, batch_size=5)
        kept = []
        for _ in range(4):
            for step, batch in enumerate(loader):
                if looks and step in (2, 5):
                    kept.append(iter(loader))
                    next(kept[-1])
                train.update(mean_loss(batch))
        runs.append((train.scores.tolist(), train.epoch, train.summary().visits_made))
    assert runs[0] == runs[1]


def test_nested_loops_that_both_train():
    train = bls(InfoBatch, 20)
    loader = DataLoader(train, batch_size=5)
    for _ in loader:
        train_epoch(loader, mean_loss)
        break
    assert train.epoch == 1
    assert train.summary().visits_made == 20


def few_hard_samples(epochs=40):
    """Nearly all are learned, so that SeTa's group of the hardest is smaller than a batch."""
    scores = torch.full((2000,), 0.01)
    scores[:50] = torch.arange(50) + 5.0
    return BLS(SeTa(Numbers(2000), epochs), alpha=0.0).proxy(), scores


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_without_a_batch_is_passed_over(workers, caplog):
    train, scores = few_hard_samples()
    loader = DataLoader(train, batch_size=256, drop_last=True, num_workers=workers)
    epochs = []
    for _ in range(6):
        epochs.append(train.epoch)
        for batch in loader:
            train.update(scores[batch])
    assert epochs == [0, 1, 2, 3, 4, 5]
    empty = [r.getMessage() for r in caplog.records if "makes no batch" in r.getMessage()]
    assert len(empty) >= 2
    assert "nothing is trained in it" in empty[0]
    assert train.summary().epochs == 6 - len(empty)


def test_a_dataset_smaller_than_a_batch(caplog):
    train = bls(NoPrune, 10)
    loader = DataLoader(train, batch_size=16, drop_last=True)
    assert len(loader) == 0
    for _ in range(3):
        assert list(loader) == []
    assert train.epoch == 3
    assert "epoch 2 keeps 10 samples, and the loader makes no batch of them" in caplog.text


def test_looking_at_an_empty_epoch_changes_nothing(caplog):
    train, scores = few_hard_samples()
    loader = DataLoader(train, batch_size=256, drop_last=True)
    for batch in loader:
        train.update(scores[batch])
        next(iter(loader), None)  # the next epoch, as things stand, may have no batch
    assert train.summary().epochs == 1
    assert train.epoch == 1


@pytest.mark.usefixtures("small_heap")
def test_plans_of_past_epochs_are_freed():
    for arguments in LOADERS[:2]:
        train = bls(InfoBatch, 60, num_epochs=30)
        loader = DataLoader(train, batch_size=5, **arguments)
        plans = []
        for _ in range(10):
            iterator = iter(loader)
            for _ in range(len(loader)):
                train.update(mean_loss(next(iterator)))
            plans.append(weakref.ref(train.epochs.plan))
        gc.collect()
        assert sum(plan() is not None for plan in plans) <= 3


def test_the_last_batch_with_drop_last_ends_the_epoch_for_a_checkpoint():
    train = bls(InfoBatch, 22)
    loader = DataLoader(train, batch_size=5, drop_last=True)
    for step, batch in enumerate(loader, start=1):
        train.update(mean_loss(batch))
        if step == len(loader):
            state = train.state_dict()
    assert step == 4
    other = bls(InfoBatch, 22)
    other.load_state_dict(state)
    assert other.epoch == 1
    assert other.scores.equal(train.scores)


def test_update_by_indices_takes_the_batch_at_hand():
    train = bls(NoPrune, 20)
    for batch in DataLoader(train, batch_size=5):
        train.update(mean_loss(batch), indices=batch)
        with pytest.raises(RuntimeError, match="twice for one batch"):
            train.update(mean_loss(batch))
    assert train.summary().visits_made == 20


def test_indices_may_be_written_to_afterwards():
    """Also: tensors of workers hold a file open each, for as long as they are kept."""
    train = BLS(NoPrune(Numbers(8), 2), alpha=0.0).proxy()
    loader = torch.utils.data.DataLoader(train.with_indices(), 2, sampler=train.sampler)
    buffer = torch.empty(2, dtype=torch.int64)
    expected = {}
    for numbers, indices in loader:
        buffer.copy_(indices)
        train.update(numbers.float().sum(), indices=buffer)
        expected.update((i, float(numbers.sum())) for i in indices.tolist())
    assert train.scores.tolist() == [expected[i] for i in range(8)]


def test_indices_of_workers_hold_no_files_open():
    import resource

    length = 1200
    train = bls(NoPrune, length)
    loader = torch.utils.data.DataLoader(
        train.with_indices(), batch_size=4, sampler=train.sampler, num_workers=1
    )
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        for numbers, indices in loader:
            train.update(mean_loss(numbers), indices=indices)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert train.summary().visits_made == length


def test_indices_on_a_device_are_checked_when_they_are_folded(monkeypatch):
    """A tensor of the host stands for one of a device, which only looks out of place later."""
    train = bls(NoPrune, 8)
    train.begin_epoch()
    monkeypatch.setattr(train.epochs.source, "check_indices", torch.tensor)
    train.update(torch.tensor(1.0), indices=[-1, 3])
    with pytest.raises(RuntimeError, match="sample numbers from 0 to 7, but -1 was given"):
        train.end_epoch()


class Custom(PrunedDataset):
    def __init__(self, selection):
        super().__init__(Numbers(10), 3)
        self.selection = selection

    def select(self, scores, epoch, generator):
        return self.selection


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection([0, 1]), "an int64 tensor of shape (K,), but a list was returned"),
        (Selection(torch.ones(10).bool()), "but torch.bool of shape (10,) was returned"),
        (Selection(torch.zeros(2, 2).long()), "but torch.int64 of shape (2, 2) was returned"),
        (Selection(torch.tensor([]).long()), "at least one sample must be kept, but none was"),
        (Selection(torch.tensor([3, 10])), "indices must be from 0 to 9, but others were"),
        (Selection(torch.tensor([-1, 3])), "indices must be from 0 to 9, but others were"),
        (Selection(torch.tensor([3, 3])), "no sample may be selected twice, but one was"),
        (Selection(torch.tensor([3]), torch.ones(2)), "but torch.float32 of shape (2,) was"),
        (Selection(torch.tensor([3]), torch.zeros(1)), "weights must be positive and finite"),
        (Selection(torch.tensor([3]), torch.tensor([torch.nan])), "must be positive and finite"),
    ],
)
def test_selections_of_ones_own_method_are_checked(selection, message):
    import re

    with pytest.raises(RuntimeError, match=re.escape("select() of Custom: ") + ".*"):
        len(Custom(selection).sampler)
    with pytest.raises(RuntimeError, match=re.escape(message)):
        len(Custom(selection).sampler)


def test_another_default_type_or_device():
    """Set globally by the user; scores and plans stay float32 on the host."""
    runs = []
    for default in (None, torch.float64, "meta"):
        if isinstance(default, torch.dtype):
            torch.set_default_dtype(default)
        elif default is not None:
            torch.set_default_device(default)
        try:
            run = []
            for method in (InfoBatch, SeTa, lambda d, e: InfoBatch(d, e, saving=0.3)):
                train = BLS(method(range(60), 10)).proxy()
                for _ in range(4):
                    plan = train.begin_epoch()
                    run.append(plan.order.tolist())
                    for chunk in plan.order.split(5):
                        train.update(sample_losses(chunk), indices=chunk)
                    train.end_epoch()
                assert train.weights.dtype == train.scores.dtype == torch.float32
                assert train.weights.device == train.scores.device == torch.device("cpu")
                run.append(train.scores.tolist())
            runs.append(run)
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_default_device(None)
    assert runs[0] == runs[1] == runs[2]


def test_attributes_of_the_loader_set_later():
    train = bls(NoPrune, 12)
    loader = DataLoader(train, batch_size=4, num_workers=1)
    loader.collate_fn = lambda samples: sorted(int(sample) for sample in samples)
    loader.prefetch_factor = 4
    served = []
    for batch in loader:
        assert batch == sorted(batch)
        train.update(torch.tensor(1.0))
        served += batch
    assert sorted(served) == list(range(12))
    assert loader._fetcher.loader.prefetch_factor == 4
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        loader.batch_size = 3
