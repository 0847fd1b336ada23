"""What a loader of a pruned dataset shows, refuses and keeps, and what a look at it changes."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, mean_loss, train_epoch
from torch.utils.data import BatchSampler, RandomSampler, get_worker_info

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, SampleLoss
from dynaprune.planning import PruningSampler
from dynaprune.planning.planner import Planner


def test_the_loader_shows_what_the_user_gave():
    train = bls(InfoBatch, 60)

    def collate(samples):
        return samples

    sampler = train.sampler
    loader = DataLoader(train, 4, sampler=sampler, collate_fn=collate, num_workers=1)
    assert isinstance(loader, torch.utils.data.DataLoader)
    assert loader.dataset is train
    assert loader.collate_fn is collate
    assert loader.sampler is sampler
    assert (loader.batch_size, loader.num_workers, len(loader.dataset)) == (4, 1, 60)
    assert isinstance(DataLoader(train).sampler, PruningSampler)
    assert isinstance(DataLoader(train, shuffle=True).sampler, PruningSampler)


def test_other_datasets_get_the_loader_of_torch():
    loader = DataLoader(Numbers(10), batch_size=4, shuffle=False)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


class Resource(Numbers):
    opened = "nowhere"

    def __getitem__(self, index):
        return self.opened


def open_in_worker(worker_id: int) -> None:
    dataset = get_worker_info().dataset
    assert len(dataset) == 6
    dataset.opened = f"in worker {worker_id} for {dataset.length}"


def test_worker_init_fn_reaches_the_dataset():
    train = BLS(NoPrune(Resource(6), 2)).proxy()
    loader = DataLoader(train, batch_size=3, num_workers=1, worker_init_fn=open_in_worker)
    assert next(iter(loader)) == ["in worker 0 for 6"] * 3


def test_errors_in_workers_arrive():
    class Broken(Numbers):
        def __getitem__(self, index):
            raise KeyError("sample is broken")

    train = BLS(NoPrune(Broken(6), 2)).proxy()
    with pytest.raises(KeyError, match="sample is broken"):
        next(iter(DataLoader(train, num_workers=1)))


def test_the_pruned_dataset_is_the_dataset():
    class Labelled(Numbers):
        classes = ("even", "odd")

    train = SampleLoss(NoPrune(Labelled(10), 2)).proxy()
    assert len(train) == 10
    assert train[3] == 3
    assert train.__getitems__([1, 2]) == [torch.tensor(1), torch.tensor(2)]
    with pytest.raises(AttributeError, match="but its dataset has: use .dataset.classes"):
        _ = train.classes
    with pytest.raises(AttributeError, match="NoPrune has no attribute 'targets'$"):
        _ = train.targets


def test_a_sampler_of_someone_else_is_told():
    train = bls(InfoBatch, 10)
    for loader in (
        DataLoader(train, sampler=RandomSampler(train)),
        DataLoader(train, batch_sampler=BatchSampler(range(10), 4, drop_last=False)),
    ):
        with pytest.raises(RuntimeError, match="does not use the sampler of the pruned dataset"):
            next(iter(loader))


def test_shuffle_false_is_told():
    with pytest.raises(ValueError, match="shuffle=False was given"):
        DataLoader(bls(InfoBatch, 10), shuffle=False)
    train = bls(InfoBatch, 10)
    assert len(DataLoader(train, sampler=train.sampler, shuffle=False)) == 10


@pytest.mark.parametrize("change", ["look", "in_order", "batch_size", "sampler"])
def test_batches_are_attributed_right_whatever_is_changed(change):
    """The samples that `update` takes a batch for are those that are in it."""
    train = bls(NoPrune, 80)
    lives_on = {"num_workers": 1, "persistent_workers": True}
    loader = DataLoader(train, batch_size=4, **(lives_on if change == "look" else {}))
    if change == "in_order":
        if not hasattr(loader, "in_order"):
            pytest.skip("this torch always yields batches in order")
        loader.in_order = False
    if change == "sampler":
        loader.batch_sampler.sampler = list(range(79, -1, -1))
        with pytest.raises(RuntimeError, match="does not use the sampler"):
            next(iter(loader))
        return
    for step, batch in enumerate(loader):
        assert np.asarray(train.epochs.passes.to_update()[1].indices).tolist() == batch.tolist()
        train.update(mean_loss(batch))
        if step == 2 and change == "look":
            next(iter(loader))
        if step == 2 and change == "batch_size":
            loader.batch_sampler.batch_size = 8


def test_a_look_leaves_workers_that_live_on_to_their_loop():
    """Also with other plans than the look's: torch's loader goes on with the look's batches."""
    served = []
    for looks in (False, True):
        train = bls(InfoBatch, 80, delta=1.0)
        loader = DataLoader(train, batch_size=4, num_workers=2, persistent_workers=True)
        batches = []
        for _ in range(3):
            for step, batch in enumerate(loader):
                train.update(mean_loss(batch))
                batches.append(batch.tolist())
                if looks and step in (0, 3):
                    assert len(next(iter(loader))) == 4
        served.append((batches, train.epoch, train.scores.tolist()))
    assert served[0] == served[1]


def test_fetchers_are_put_around_each_other_and_keep_what_was_set_later():
    train = bls(NoPrune, 20)
    loader = DataLoader(train, batch_size=4)
    loader.timeout = 0.0
    seen = []

    def around(name):
        class Around:
            def __init__(self, inner):
                self.inner = inner

            def __iter__(self):
                seen.append(name)
                return iter(self.inner)

        return Around

    loader.replace_fetcher(around("inner"))
    loader.replace_fetcher(around("outer"))
    loader.collate_fn = lambda samples: torch.stack(samples) + 100
    batches = list(loader)
    assert seen == ["outer", "inner"]
    assert min(int(batch.min()) for batch in batches) == 100


def test_a_batch_lives_no_longer_than_its_step():
    class Batch(list):
        pass

    train = bls(NoPrune, 20)
    alive = []
    for batch in DataLoader(train, batch_size=4, collate_fn=Batch):
        alive.append(weakref.ref(batch))
        del batch
        assert sum(each() is not None for each in alive) == 0
        train.update(torch.tensor(1.0))


def test_the_plan_that_is_over_is_gone_when_the_next_is_made(monkeypatch):
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=7)
    make_plan, seen = Planner.plan, []
    plans: list[weakref.ref] = []

    def made(planner, score, epoch):
        seen.append([each() is not None for each in plans])
        plan = make_plan(planner, score, epoch)
        plans.append(weakref.ref(plan))
        return plan

    monkeypatch.setattr(Planner, "plan", made)
    for _ in range(3):
        train_epoch(loader, mean_loss)
        len(loader.batch_sampler)
    assert seen == [[], [False], [False, False], [False, False, False]]
