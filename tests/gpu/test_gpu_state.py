"""Resuming on a GPU, its memory, and a GPU as the default device."""

from __future__ import annotations

import copy
import gc
import pickle

import pytest
import torch
from gpu_runs import Task, exact_losses, pruned
from helpers import Numbers
from streams import bls_stream

from dynaprune import BLS, DataLoader, InfoBatch, KalmanBLS, NoPrune, chunked
from dynaprune.planning.share import whole

LENGTH = 256


def train_on(task, train, batches, steps):
    """Train for some steps, over epochs, and return the samples of each step and its loss."""
    done = []
    while True:
        for indices in batches:
            loss = task.loss(indices.to(task.x.device))
            task.step(train.update(loss))
            done.append((indices.tolist(), loss.detach()))
            if len(done) == steps:
                return [(samples, float(loss)) for samples, loss in done], train.state_dict()


def batches_of(train, way, device):
    return train.batches(16, device=device) if way == "batches" else DataLoader(train, 16)


@pytest.mark.parametrize("score", [BLS, KalmanBLS])
@pytest.mark.parametrize("way", ["batches", "loader"])
@pytest.mark.parametrize("steps", [5, 16, 23])
def test_resumed_bit_by_bit(device, way, score, steps, tmp_path):
    """In the middle of the first epoch, at its end, and in an epoch with weights."""

    def fresh():
        return Task(device, LENGTH), score(InfoBatch(Numbers(LENGTH), 10)).proxy()

    task, train = fresh()
    whole, _ = train_on(task, train, batches_of(train, way, device), 40)
    expected, model = train.scores, task.model.state_dict()

    task, train = fresh()
    begun, state = train_on(task, train, batches_of(train, way, device), steps)
    torch.save({"train": state, "model": task.model.state_dict()}, tmp_path / "state.pt")
    task, train = fresh()
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert all(value.device.type == "cpu" for value in tensors(saved["train"]))
    task.model.load_state_dict(saved["model"])
    train.load_state_dict(saved["train"])
    rest, _ = train_on(task, train, batches_of(train, way, device), 40 - steps)
    assert begun + rest == whole
    assert train.scores.equal(expected)
    for name, value in task.model.state_dict().items():
        assert value.equal(model[name])


def tensors(state):
    """Return the tensors in a state."""
    if isinstance(state, torch.Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state
    is_nested = isinstance(state, (dict, list, tuple))
    return [each for part in parts for each in tensors(part)] if is_nested else []


def test_a_state_that_was_loaded_to_the_device(device):
    """`torch.load(..., map_location="cuda")` moves all of it, as some loops do."""
    train = pruned(LENGTH)
    for number, indices in enumerate(train.batches(16, device=device)):
        train.update(exact_losses(indices).mean())
        if number == 20:
            break
    state, again = train.state_dict(), pruned(LENGTH)
    again.load_state_dict({name: to(value, device) for name, value in state.items()})
    assert again.scores.equal(train.scores)
    assert again.scores.device.type == "cpu"


def to(value, device):
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return (
        {name: to(part, device) for name, part in value.items()}
        if isinstance(value, dict)
        else value
    )


def test_copies_in_the_middle_of_an_epoch(device):
    train = pruned(LENGTH)
    for _ in range(2):
        for number, indices in enumerate(train.batches(16, device=device)):
            train.update(exact_losses(indices).mean())
            if number == 9:
                break
        copied, pickled = copy.deepcopy(train), pickle.loads(pickle.dumps(train))
        assert copied.scores.equal(train.scores)
        assert pickled.scores.equal(train.scores)


def memory_of_tensors(device):
    """Return the bytes that tensors take there."""
    gc.collect()
    if device.type == "cuda":
        return torch.cuda.memory_allocated()
    every = [each for each in gc.get_objects() if type(each) is torch.Tensor]
    every = [each for each in every if each.is_cpu and each.layout == torch.strided]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in every}
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.usefixtures("small_heap")
@pytest.mark.parametrize("way", ["batches", "indices", "samples"])
def test_memory_of_the_device(device, way):
    """Between epochs as much as before: of many samples, nothing but what the epoch serves."""
    length = 1_000_000 if device.type == "cuda" else 50_000
    batch_size = length // 500
    train = pruned(length, by_samples=way == "samples")
    every = torch.rand(length, device=device)
    held, highest = [], []
    for _ in range(5):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        if way == "indices":
            batches = train.begin_epoch().order.long().split(batch_size)
        else:
            batches = train.batches(batch_size, device=device)
        for each in batches:
            indices = each.to(device)
            losses = every[indices]
            told = {"indices": indices} if way == "indices" else {}
            train.update(losses if way == "samples" else losses.mean(), **told)
        weights = train.weights.max()
        del batches, each, indices, losses, told
        train.end_epoch()
        held.append(memory_of_tensors(device))
        if device.type == "cuda":
            highest.append(torch.cuda.max_memory_allocated())
    assert weights > 1
    assert max(held[1:]) - held[0] < length  # a byte a sample
    if highest:
        # the order, or the indices, in eight bytes, weights in four, and what is made of them
        assert max(highest) - held[0] < 64 * length


@pytest.fixture(params=["device", "meta"])
def default_device(request, device):
    """Another default device, set by the user: the one of the test, or one without any values."""
    torch.set_default_device(device if request.param == "device" else "meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("kind", ["mean", "slices", "samples"])
@pytest.mark.parametrize("way", ["batches", "indices"])
def test_a_default_device(device, default_device, way, kind):
    train = pruned(LENGTH, by_samples=kind == "samples")
    means = chunked(lambda losses: losses.mean(), chunks=3)
    made = {"mean": torch.mean, "slices": means, "samples": lambda losses: losses}[kind]
    for epoch in range(3):
        order = train.begin_epoch().order.long()
        batches = train.batches(8, device=device) if way == "batches" else order.split(8)
        for number, batch in enumerate(batches):
            indices = batch.to(device)
            told = (
                {} if way == "batches" else {"indices": indices if number % 2 else batch.tolist()}
            )
            train.update(made(exact_losses(indices)), **told)
        train.end_epoch()
        assert train.epoch == epoch + 1
    assert train.scores.device.type == train.weights.device.type == "cpu"
    assert train.scores.isfinite().all()
    again = pruned(LENGTH, by_samples=kind == "samples")
    again.load_state_dict(train.state_dict())
    assert again.scores.equal(train.scores)


def test_a_loader_with_a_default_device(device):
    """Its workers do not know of it, so there are none; samples lie on the device."""
    torch.set_default_device(device)
    try:
        numbers = torch.arange(LENGTH)
        train = BLS(InfoBatch(torch.utils.data.TensorDataset(numbers), 10)).proxy()
        for epoch in range(3):
            for (batch,) in DataLoader(train, batch_size=16):
                assert batch.device.type == device.type
                train.update(exact_losses(batch).mean())
            assert train.epoch == epoch + 1
        assert train.weights.max() > 1
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("steps", [3, 20])
def test_a_resumed_epoch_draws_no_number_with_a_default_device(device, steps):
    """The iterator of torch draws one for each epoch, which the run has done before."""

    def random_state():
        is_cuda = device.type == "cuda"
        return torch.cuda.get_rng_state() if is_cuda else torch.random.get_rng_state()

    train, again = pruned(LENGTH), pruned(LENGTH)
    with torch.device(device):
        again.load_state_dict(train_on_numbers(train, steps))
        assert again.epochs.position.is_resumed()
        before = random_state()
        next(iter(DataLoader(again, batch_size=16)))
        assert random_state().equal(before)
        train.end_epoch()
        next(iter(DataLoader(train, batch_size=16)))
        assert not random_state().equal(before)


def train_on_numbers(train, steps):
    """Train for some steps and return the state before the loop is left."""
    done = 0
    while True:
        for batch in DataLoader(train, batch_size=16):
            train.update(exact_losses(batch).mean())
            done += 1
            if done == steps:
                return train.state_dict()


def test_a_part_that_is_filled_up_with_another_default_device(default_device):
    """Where a rank has samples of its own and fewer than others, its first ones are repeated."""
    train = pruned(8)
    plan = train.begin_epoch().plan
    order = whole(plan, each=11).order
    assert order.tolist() == [*plan.order.tolist(), *plan.order[:3].tolist()]


def test_the_facts_of_a_stream_with_another_default_device(device):
    """What ranks compare before they train: the known keys among it."""
    train = bls_stream(NoPrune)
    for _ in DataLoader(train, batch_size=8):
        train.update(torch.tensor(1.0))
    plan = train.begin_epoch().plan
    expected = train.epochs._facts(plan)
    for default in (device, "meta"):
        with torch.device(default):
            assert train.epochs._facts(plan) == expected
    assert expected["known keys"] != 0
