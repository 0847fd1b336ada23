"""Pruning alone never makes a batch of one sample, which BatchNorm1d cannot take."""

from __future__ import annotations

import pytest
import torch
from helpers import Numbers, mean_loss, train_in_pieces
from streams import Stored, bls_stream, stream_of
from torch import nn

from dynaprune import BLS, DataLoader, InfoBatch, PrunedDataset, RandomPrune, Selection


class Keeps(PrunedDataset):
    """Keeps a given number of samples in each epoch."""

    def __init__(self, dataset, counts):
        super().__init__(dataset, len(counts))
        self.counts = counts

    def select(self, scores, epoch, generator):
        chosen = torch.randperm(scores.numel(), generator=generator)
        return Selection(chosen[: self.counts[epoch]])


LOADERS = [{}, {"num_workers": 1}, {"num_workers": 1, "persistent_workers": True}]


@pytest.mark.parametrize("arguments", LOADERS)
@pytest.mark.parametrize(
    ("length", "batch_size", "kept", "expected"),
    [
        (40, 4, 33, [4] * 7 + [3, 2]),  # 33 = 8 · 4 + 1: the last five are shared out
        (40, 4, 34, [4] * 8 + [2]),
        (41, 4, 33, [4] * 8 + [1]),  # the full epoch has a batch of one as well
        (40, 3, 31, [3] * 10 + [1]),
        (42, 3, 31, [3] * 9 + [2, 2]),
        (42, 16, 17, [9, 8]),
        (42, 16, 1, [1]),  # all there is
        (40, 2, 33, [2] * 16),  # two and one cannot be shared out: the last one is left out
        (40, 1, 33, [1] * 33),
    ],
)
def test_sizes_of_batches(arguments, length, batch_size, kept, expected):
    train = Keeps(Numbers(length), [kept, kept])
    loader = DataLoader(train, batch_size=batch_size, **arguments)
    for _ in range(2):
        assert len(loader) == len(expected)
        order = train.begin_epoch().order.tolist()
        batches = []
        for batch in loader:
            train.update(batch.float())
            batches.append(batch.tolist())
        assert [len(batch) for batch in batches] == expected
        served = [sample for batch in batches for sample in batch]
        assert served == order[: len(served)]
        assert train.progress == train.epoch  # nothing of it is due


def test_with_drop_last_all_is_as_it_was():
    train = Keeps(Numbers(40), [33])
    sizes = [len(batch) for batch in DataLoader(train, batch_size=4, drop_last=True)]
    assert sizes == [4] * 8


def test_stopped_and_resumed(tmp_path):
    """Also before and between the two batches that share the last samples."""

    def make():
        return BLS(RandomPrune(Numbers(40), 5, saving=0.175)).proxy()  # 33 are kept

    def train_on(train, stop_after=None):
        served = []
        for _ in range(train.epoch, 5):
            for batch in DataLoader(train, batch_size=4):
                train.update(mean_loss(batch))
                served.append(batch.tolist())
                if len(served) == stop_after:
                    return served, train.state_dict()
        return served, train.state_dict()

    whole = make()
    expected, _ = train_on(whole)
    assert {len(batch) for batch in expected} == {2, 3, 4}
    served, train, _ = train_in_pieces(make, train_on, tmp_path)
    assert served == expected
    assert train.scores.equal(whole.scores)


@pytest.mark.parametrize("workers", [0, 2])
def test_streams(workers):
    train = bls_stream(InfoBatch, 40, num_epochs=12)
    loader = DataLoader(train, batch_size=4, num_workers=workers)
    lone = 0
    for _ in range(12):
        kept = len(train.epochs.coming_plan(train._planner)) or 40
        sizes = []
        for batch in loader:
            train.update(mean_loss(batch))
            sizes.append(len(batch))
        assert min(sizes) > 1
        assert sum(sizes) == kept
        if kept % 4 == 1:
            assert sizes[-2:] == [3, 2]
            lone += 1
        assert set(sizes[:-2]) == {4}
    assert lone > 0


def test_a_stream_whose_full_pass_has_a_batch_of_one():
    train = BLS(RandomPrune(stream_of(Stored(41)), 4, saving=0.16)).proxy()  # 32 or 33
    loader = DataLoader(train, batch_size=4)
    for expected, last in ((41, 1), (33, 1), (32, 4)):
        served = [train.update(mean_loss(batch)).numel() and len(batch) for batch in loader]
        assert sum(served) == expected
        assert served[-1] == last


def test_training_with_batch_norm():
    """1,000 samples in batches of 16, as was reported: full training has no batch of one."""
    for seed in range(10):
        data = torch.utils.data.TensorDataset(torch.randn(1000, 4), torch.randn(1000, 1))
        train = BLS(InfoBatch(data, 12, seed=seed)).proxy()
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        for _ in range(12):
            for inputs, targets in DataLoader(train, batch_size=16):
                train.update((model(inputs) - targets).square().mean())


def test_ranks_have_the_same_batches():
    """What each rank serves of 62 samples is 31 = 10 · 3 + 1; of all 64 it is 32."""
    train = Keeps(Numbers(64), [62])
    sizes = [
        [
            len(batch)
            for batch in DataLoader(
                train, batch_size=3, sampler=type(train.sampler)(train, world_size=2, rank=rank)
            )
        ]
        for rank in range(2)
    ]
    assert sizes == [[3] * 9 + [2, 2]] * 2
