"""Indices match samples in every kind of loader, and epochs end."""

from __future__ import annotations

import inspect
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, mean_loss, train_epoch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    Dataset,
    RandomSampler,
    Subset,
    TensorDataset,
    get_worker_info,
)

import dynaprune
from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, SampleLoss
from dynaprune.planning.planner import Planner

TORCH_ARGUMENTS = inspect.signature(torch.utils.data.DataLoader).parameters


def check_epochs(train, loader, numbers_of, epochs=4, prunes=True):
    """Every batch's samples, as the batch tells them, are what `update` scores."""
    lengths = set()
    for _ in range(epochs):
        expected_batches = len(loader)
        expected: dict[int, float] = {}
        before = train.scores
        start = None
        count = 0
        for batch in loader:
            count += 1
            assert len(loader) == expected_batches
            numbers = torch.as_tensor(numbers_of(batch)).reshape(-1)
            loss = mean_loss(numbers)
            start = loss.item() if start is None else start
            train.update(loss)
            assert not expected.keys() & set(numbers.tolist())
            expected.update((number, loss.item()) for number in numbers.tolist())
        assert count == expected_batches
        if train.summary().epochs == 1:
            before = torch.full_like(before, start)
        scores = before.clone()
        for number, loss in expected.items():
            scores[number] = 0.7 * before[number] + (1 - 0.7) * loss
        torch.testing.assert_close(train.scores, scores)
        lengths.add(len(expected))
    assert (len(lengths) > 1) == prunes  # not all epochs are full


LOADERS = {
    "plain": {},
    "two workers": {"num_workers": 2},
    "persistent workers": {"num_workers": 2, "persistent_workers": True},
    "prefetch 4": {"num_workers": 2, "prefetch_factor": 4},
    "out of order": {"num_workers": 2, "in_order": False},
    "pinned": {"pin_memory": True},
    "pinned with workers": {"pin_memory": True, "num_workers": 2},
    "drop last": {"drop_last": True},
    "drop last with workers": {"drop_last": True, "num_workers": 2},
    "batch of one": {"batch_size": 1},
    "one batch": {"batch_size": 1000},
    "last batch of one": {"batch_size": 9},
    "spawned workers": {"num_workers": 1, "multiprocessing_context": "spawn"},
    "samples one by one": {"batch_size": None},
    "custom collate": {"collate_fn": lambda samples: {"numbers": [int(s) for s in samples]}},
}


@pytest.mark.parametrize("name", LOADERS)
def test_indices_match_samples(name):
    arguments = {"batch_size": 8, **LOADERS[name]}
    if not arguments.keys() <= TORCH_ARGUMENTS.keys():
        pytest.skip(f"this torch has no {arguments.keys() - TORCH_ARGUMENTS.keys()}")
    train = bls(InfoBatch, 100)
    loader = DataLoader(train, sampler=train.sampler, **arguments)

    def numbers_of(batch):
        return batch["numbers"] if isinstance(batch, dict) else batch

    check_epochs(
        train,
        loader,
        numbers_of,
        epochs=2 if "spawned" in name else 4,
        prunes=name != "one batch",  # all samples have the same losses, so none is below the mean
    )
    if name == "last batch of one":
        assert 100 % 9 == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_slow_workers_out_of_order(workers):
    """Batches that really arrive out of order keep their samples."""
    if "in_order" not in TORCH_ARGUMENTS:
        pytest.skip("this torch has no in_order")

    class Slow(Numbers):
        def __getitem__(self, index):
            if index % 7 == 0:
                import time

                time.sleep(0.02)
            return super().__getitem__(index)

    train = BLS(InfoBatch(Slow(60), 10)).proxy()
    check_epochs(
        train,
        DataLoader(train, batch_size=3, num_workers=workers, in_order=False),
        lambda batch: batch,
    )


class Shaped(Dataset[Any]):
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 60

    def __getitem__(self, i: int) -> Any:
        x = torch.full((2, 3), float(i))
        return {
            "tuple": (x, i),
            "dict": {"x": x, "y": i},
            "tensor": x,
            "nested": {"x": [x, (x, {"deep": i})], "name": f"sample {i}"},
            "number": i,
            "array": np.full(3, i),
        }[self.kind]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("kind", "numbers_of"),
    [
        ("tuple", lambda batch: batch[1]),
        ("dict", lambda batch: batch["y"]),
        ("tensor", lambda batch: batch[:, 0, 0].long()),
        ("nested", lambda batch: batch["x"][1][1]["deep"]),
        ("number", lambda batch: batch),
        ("array", lambda batch: batch[:, 0]),
    ],
)
def test_samples_of_any_shape(kind, numbers_of, workers):
    train = BLS(InfoBatch(Shaped(kind), 10)).proxy()
    loader = DataLoader(train, batch_size=7, num_workers=workers)
    plain = next(iter(torch.utils.data.DataLoader(Shaped(kind), batch_size=7)))
    assert type(next(iter(loader))) is type(plain)
    check_epochs(train, loader, numbers_of)


class Batched(Numbers):
    """Fetches many samples at once, as Hugging Face datasets do."""

    calls = 0

    def __getitems__(self, indices):
        Batched.calls += 1
        return [torch.tensor(i) for i in indices]


class Collated(Numbers):
    """Returns a whole batch at once, for use with a collate function that does nothing."""

    def __getitems__(self, indices):
        return torch.tensor(indices)


@pytest.mark.parametrize("workers", [0, 2])
def test_datasets_made_of_datasets(workers):
    cases = {
        "subset": (Subset(Numbers(500), list(range(300, 360))), lambda batch: batch - 300),
        "subset of subset": (
            Subset(Subset(Numbers(500), list(range(100, 400))), list(range(200, 260))),
            lambda batch: batch - 300,
        ),
        "concatenation": (
            ConcatDataset([Subset(Numbers(9), range(9)), Subset(Numbers(60), range(9, 60))]),
            lambda batch: batch,
        ),
        "tensors": (TensorDataset(torch.arange(60)), lambda batch: batch[0]),
        "list": (list(range(60)), lambda batch: batch),
        "range": (range(60), lambda batch: batch),
        "__getitems__": (Batched(60), lambda batch: batch),
        "subset of __getitems__": (Subset(Batched(60), range(60)), lambda batch: batch),
    }
    for dataset, numbers_of in cases.values():
        train = BLS(InfoBatch(dataset, 10)).proxy()
        check_epochs(train, DataLoader(train, batch_size=7, num_workers=workers), numbers_of)


def test_getitems_is_used():
    Batched.calls = 0
    train = BLS(InfoBatch(Batched(60), 10)).proxy()
    train_epoch(DataLoader(train, batch_size=20), mean_loss)
    assert Batched.calls == 3


def test_getitems_that_returns_a_batch():
    train = BLS(InfoBatch(Collated(60), 10)).proxy()
    check_epochs(train, DataLoader(train, batch_size=7, collate_fn=lambda b: b), lambda b: b)


@pytest.mark.parametrize("workers", [0, 2])
def test_batch_sampler(workers):
    train = bls(InfoBatch, 60)
    sampler = BatchSampler(train.sampler, batch_size=7, drop_last=False)
    loader = DataLoader(train, batch_sampler=sampler, num_workers=workers)
    assert loader.batch_sampler is sampler
    check_epochs(train, loader, lambda batch: batch)


@pytest.mark.parametrize("workers", [0, 2])
def test_batch_sampler_as_sampler(workers):
    """torch's documented way to fetch a batch with one call: `batch_size=None`."""
    train = BLS(InfoBatch(TensorDataset(torch.arange(60)), 10)).proxy()
    sampler = BatchSampler(train.sampler, batch_size=7, drop_last=False)
    loader = DataLoader(train, sampler=sampler, batch_size=None, num_workers=workers)
    check_epochs(train, loader, lambda batch: batch[0])


def test_batch_sampler_of_ones_own():
    """A batch sampler that reads the epoch at once and sorts it into buckets."""

    class Buckets:
        def __init__(self, sampler):
            self.sampler = sampler

        def __iter__(self):
            order = sorted(self.sampler)
            yield from (order[i : i + 5] for i in range(0, len(order), 5))

        def __len__(self):
            return -(-len(self.sampler) // 5)

    train = bls(InfoBatch, 60)
    check_epochs(train, DataLoader(train, batch_sampler=Buckets(train.sampler)), lambda b: b)


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
    assert isinstance(DataLoader(train).sampler, dynaprune.PruningSampler)
    assert isinstance(DataLoader(train, shuffle=True).sampler, dynaprune.PruningSampler)


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


@pytest.mark.parametrize("workers", [0, 2])
def test_another_librarys_loader(workers):
    """`with_indices` and `update(loss, indices=...)` in the loader of torch."""
    # 57 = 8 · 7 + 1: a full epoch has a batch of one, so ours leaves that of a pruned one, too
    train = bls(InfoBatch, 57)
    loader = torch.utils.data.DataLoader(
        train.with_indices(), batch_size=7, sampler=train.sampler, num_workers=workers
    )
    ours = bls(InfoBatch, 57)
    our_loader = DataLoader(ours, batch_size=7)
    for _ in range(5):
        for numbers, indices in loader:
            assert numbers.tolist() == indices.tolist()
            train.update(mean_loss(numbers), indices=indices)
        for numbers in our_loader:
            ours.update(mean_loss(numbers))
        assert train.scores.equal(ours.scores)
    assert train.summary().visits_made == ours.summary().visits_made < 300


def test_indices_as_tensor_list_or_array():
    scores = []
    for convert in (list, np.asarray, torch.tensor, lambda i: np.asarray(i, np.int32), tuple):
        train = bls(NoPrune, 10)
        train.begin_epoch()
        train.update(torch.tensor(1.0), indices=convert([3, 4]))
        train.update(torch.tensor(2.0), indices=convert([5]))
        scores.append(train.scores.tolist())
    assert all(found == scores[0] for found in scores)
    assert scores[0][5] == pytest.approx(1.3)


def test_with_indices_of_a_dataset_that_fetches_many():
    train = BLS(NoPrune(Batched(10), 2)).proxy()
    assert train.with_indices().__getitems__([3, 1]) == [(torch.tensor(3), 3), (torch.tensor(1), 1)]
    assert train.with_indices()[4] == (torch.tensor(4), 4)
    assert len(train.with_indices()) == 10


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
