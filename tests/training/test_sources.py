"""What differs between the kinds of data sets, as a pruned dataset shows it."""

from __future__ import annotations

import threading

import pytest
import torch
from helpers import Numbers, bls, mean_loss
from streams import Stored, stream_of
from torch.utils.data import BatchSampler

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, RandomPrune, Sharded
from dynaprune.planning.sampler import PruningSampler


class Counting(RandomPrune):
    """Remembers for which epochs it was asked."""

    def select(self, scores, epoch, generator, **more):
        self.epochs_asked.append(epoch)
        return super().select(scores, epoch, generator, **more)


def counting(dataset):
    train = Counting(dataset, 4)
    vars(train)["epochs_asked"] = []
    return train


def train_one(train):
    for batch in DataLoader(train, batch_size=5):
        train.update(mean_loss(batch))


@pytest.mark.parametrize("divided", [False, True])
def test_nothing_is_planned_before_it_is_needed(divided):
    train = counting(Sharded(Numbers(40), rank=0, world_size=2) if divided else Numbers(20))
    train_one(train)
    train.end_epoch()
    assert train.epochs_asked == [0]
    again = counting(Sharded(Numbers(40), rank=0, world_size=2) if divided else Numbers(20))
    again.load_state_dict(train.state_dict())
    assert again.epochs_asked == []


def test_a_part_tells_its_length_whatever_divides_it_again():
    train = BLS(NoPrune(Sharded(Numbers(20), rank=0, world_size=2), 3)).proxy()
    again = PruningSampler(train, world_size=2, rank=1)
    assert len(again) == 10
    assert len(DataLoader(train, batch_sampler=BatchSampler(again, 5, drop_last=False))) == 2
    with pytest.raises(RuntimeError, match="the sampler divides it again"):
        iter(again)


def test_another_thread_may_ask_for_the_length():
    train, found = bls(InfoBatch, 30), []
    with train.epochs.lock:
        other = threading.Thread(target=lambda: found.append(len(train)), daemon=True)
        other.start()
        other.join(timeout=20)
    assert found == [30]


def test_a_dataset_that_is_replaced_by_one_of_another_length():
    train = bls(InfoBatch, 30)
    train.dataset = Numbers(40)
    with pytest.raises(RuntimeError, match="has 40 samples now, but had 30"):
        iter(train.sampler)
    train.dataset = Numbers(30)
    assert len(list(train.sampler)) == 30


def test_the_length_of_a_resumed_epoch_of_a_stream_stays():
    def make():
        return BLS(InfoBatch(stream_of(Stored(30)), 5, saving=0.0)).proxy()

    train = make()
    train_one(train)
    for place, batch in enumerate(DataLoader(train, batch_size=5)):
        train.update(mean_loss(batch))
        if place == 1:
            state = train.state_dict()
    train = make()
    train.load_state_dict(state)
    loader, lengths = DataLoader(train, batch_size=5), []
    for batch in loader:
        lengths.append(len(loader))
        train.update(mean_loss(batch))
    assert lengths == 4 * [4]


def test_weights_of_a_stream_that_nothing_has_come_of():
    train = BLS(InfoBatch(stream_of(Stored(30)), 5)).proxy()
    assert train.weights.shape == train.scores.shape == (0,)
    with pytest.raises(TypeError, match="no length before its first pass"):
        len(train)
    assert torch.equal(train.weights, train.scores)
