"""Indices match samples in every kind of loader, and epochs end."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, mean_loss, train_epoch
from torch.utils.data import BatchSampler, ConcatDataset, Dataset, Subset, TensorDataset

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune

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
