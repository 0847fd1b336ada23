"""Batches that are said by themselves, `update(loss, batch=...)`, where a loop fetches ahead."""

from __future__ import annotations

from collections import deque
from itertools import islice

import pytest
import torch
from fetching import ALPHA, copied_ahead, held_back, moving_average
from helpers import Numbers, bls, mean_loss

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune
from dynaprune.tracking import read_recording


def test_the_batch_may_be_said_by_itself():
    train = BLS(NoPrune(Numbers(60), 10), alpha=ALPHA).proxy()
    steps = []
    for batch in held_back(DataLoader(train, batch_size=5)):
        loss = mean_loss(batch)
        train.update(loss, batch=batch)
        steps.append((batch.tolist(), float(loss)))
        if len(steps) == 7:
            break
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))


@pytest.mark.parametrize("depth", [1, 3])
def test_the_batch_may_be_said_by_a_tensor_of_it(depth):
    """Also with structure around it, and several batches ahead."""
    data = torch.utils.data.TensorDataset(torch.arange(60), torch.arange(60) * 2)
    train = bls(NoPrune, 60)
    train = BLS(InfoBatch(data, 10), alpha=ALPHA).proxy()
    loader = DataLoader(train, batch_size=5)
    for _ in range(3):
        waiting, steps = deque(), []

        def step(numbers, train=train, steps=steps):
            loss = mean_loss(numbers)
            weight = float(train.weights[numbers].mean())
            assert float(train.update(loss, batch=numbers)) == pytest.approx(float(loss) * weight)
            steps.append(numbers.tolist())

        for numbers, _ in loader:
            waiting.append(numbers)
            if len(waiting) > depth:
                step(waiting.popleft())
        served = len(steps)
        assert served == len(loader) - depth


def all_at_once(loader):
    return list(loader)


def by_fours(loader):
    """As gradient accumulation groups them: the last group may be smaller, and ends the epoch."""
    batches = iter(loader)
    while group := list(islice(batches, 4)):
        yield from group


@pytest.mark.parametrize("ahead", [held_back, all_at_once, by_fours])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_the_last_batches_of_an_epoch_may_be_said_too(ahead, is_recorded, tmp_path):
    """They are updated when the loader has come to its end already."""
    train = BLS(NoPrune(Numbers(50), 10), alpha=ALPHA).proxy()
    if is_recorded:
        train.record(tmp_path)
    loader, steps = DataLoader(train, batch_size=5), []
    for epoch in range(2):
        for batch in ahead(loader):
            loss = mean_loss(batch) / (epoch + 1)
            train.update(loss, batch=batch)
            steps.append((batch.tolist(), float(loss)))
            assert train.progress == pytest.approx(len(steps) / 10)
        assert train.epoch == epoch + 1
    assert len(steps) == 20
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 50))
    assert train.summary().visits_made == 100
    if is_recorded:
        assert [len(batches) for batches in read_recording(tmp_path)] == [10, 10]


def test_the_last_batches_may_be_said_by_indices(tmp_path):
    train = BLS(NoPrune(Numbers(60), 10), alpha=ALPHA).proxy()
    train.record(tmp_path)
    loader, steps = DataLoader(train, batch_size=5), []
    for epoch in range(2):
        for batch in copied_ahead(loader):
            loss = mean_loss(batch)
            train.update(loss, indices=batch)
            steps.append((batch.tolist(), float(loss)))
        assert train.epoch == epoch + 1
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))
    assert [len(batches) for batches in read_recording(tmp_path)] == [12, 12]


@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_batch_may_be_said_when_the_next_epoch_has_begun(is_recorded, tmp_path):
    def endless(loader):
        while True:
            yield from loader

    train = BLS(InfoBatch(Numbers(60), 10, prune_ratio=0.5), alpha=ALPHA).proxy()
    if is_recorded:
        train.record(tmp_path)
    loader, steps, visits = DataLoader(train, batch_size=5), [], []
    for batch in held_back(endless(loader)):
        loss = mean_loss(batch)
        train.update(loss, batch=batch)
        assert len(loader) > 0  # asks for the plan
        steps.append((batch.tolist(), float(loss)))
        visits.append(train.epochs.number)
        if len(steps) == 30:
            break
    assert visits[:13] == [0] * 12 + [1]
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))


def test_a_checkpoint_while_the_last_batches_wait():
    train = bls(NoPrune, 60)
    batches = list(DataLoader(train, batch_size=5))
    for batch in batches[:-2]:
        train.update(mean_loss(batch), batch=batch)
    resumed = bls(NoPrune, 60)
    resumed.load_state_dict(train.state_dict())
    left = [batch.tolist() for batch in DataLoader(resumed, batch_size=5)]
    assert left == [batch.tolist() for batch in batches[-2:]]


def test_what_is_no_batch_is_refused():
    train = bls(InfoBatch, 60)
    for batch in DataLoader(train, batch_size=5):
        with pytest.raises(RuntimeError, match="no batch of dynaprune.DataLoader which waits"):
            train.update(mean_loss(batch), batch=batch.clone())
        train.update(mean_loss(batch), batch=batch)
        with pytest.raises(RuntimeError, match="no batch of dynaprune.DataLoader which waits"):
            train.update(mean_loss(batch), batch=batch)


def test_the_batch_may_be_said_by_its_indices():
    train = BLS(NoPrune(Numbers(60), 10), alpha=ALPHA).proxy()
    steps = []
    for batch in copied_ahead(DataLoader(train, batch_size=5)):
        loss = mean_loss(batch)
        train.update(loss, indices=batch)
        steps.append((batch.tolist(), float(loss)))
        if len(steps) == 7:
            break
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))
