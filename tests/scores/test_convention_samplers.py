"""Objects of other libraries that bring a sampler, also one that restarts itself."""

from __future__ import annotations

import copy
import pickle
from functools import cached_property

import pytest
import torch
from other_libraries import TheirInfoBatch
from torch.utils.data import DataLoader

from dynaprune import BLS


class RestartingSampler:
    """A sampler as the published ones are: its own iterator, and `iter()` begins an epoch."""

    def __init__(self, train):
        self.train = train
        self.epochs_begun = 0
        self.reset()

    def reset(self):
        pruned = self.epochs_begun <= 3
        self.indices = self.train.prune().tolist() if pruned else list(range(len(self.train)))
        self.left = iter(self.indices)
        self.epochs_begun += 1

    def __len__(self):
        return len(self.indices)

    def __iter__(self):
        self.reset()
        return self

    def __next__(self):
        return next(self.left)


class WithSampler(TheirInfoBatch):
    @property
    def sampler(self):
        return RestartingSampler(self)


class WithMethod(TheirInfoBatch):
    def pruning_sampler(self):
        return RestartingSampler(self)


class WithAttribute(TheirInfoBatch):
    def __init__(self, dataset):
        super().__init__(dataset)
        self.sampler = RestartingSampler(self)


class WithCached(TheirInfoBatch):
    @cached_property
    def sampler(self):
        return RestartingSampler(self)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("kind", [WithSampler, WithMethod, WithAttribute, WithCached])
def test_a_sampler_that_restarts_itself_serves_one_epoch_a_time(kind, drop_last):
    """torch's BatchSampler asks the iterator of a sampler for an iterator again, for each batch."""
    train = BLS(kind(list(range(23)))).proxy()
    train.scores = torch.arange(23.0)  # 11 are below the mean, of which 5 are kept
    sampler = train.pruning_sampler() if kind is WithMethod else train.sampler
    begun = sampler.epochs_begun
    loader = DataLoader(train, batch_size=5, sampler=sampler, drop_last=drop_last)
    for epoch in range(2):
        served = [len(indices) for indices, _ in loader]
        assert served == ([5, 5, 5] if drop_last else [5, 5, 5, 2])  # 17 samples
        assert sampler.epochs_begun == begun + epoch + 1
        assert len(sampler) == 17
    sampler.epochs_begun = 4  # written to theirs, which prunes no more then
    assert sum(len(indices) for indices, _ in loader) == (20 if drop_last else 23)


def test_a_sampler_is_indexed_as_theirs():
    """As the distributed sampler of the published InfoBatch does."""

    class Indexed(RestartingSampler):
        def __getitem__(self, index):
            return 10 * index

    theirs = TheirInfoBatch(list(range(8)))
    theirs.sampler = Indexed(theirs)
    assert BLS(theirs).proxy().sampler[3] == 30


def test_samplers_that_are_no_iterators_are_left_alone():
    theirs = TheirInfoBatch(list(range(8)))
    theirs.sampler = torch.utils.data.SequentialSampler(theirs)
    own = theirs.sampler
    train = BLS(theirs).proxy()
    assert train.sampler is own
    train.sampler = RestartingSampler(train)
    assert len([len(indices) for indices, _ in DataLoader(train, 4, sampler=train.sampler)]) == 2


@pytest.mark.parametrize("how", [copy.deepcopy, lambda train: pickle.loads(pickle.dumps(train))])
def test_copies_of_what_holds_its_sampler(how):
    twin = how(BLS(WithAttribute(list(range(8)))).proxy())
    assert twin.sampler.train is twin
    assert sum(len(indices) for indices, _ in DataLoader(twin, 3, sampler=twin.sampler)) == 8
