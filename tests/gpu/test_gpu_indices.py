"""Indices on a device are checked when they are folded: it survives those out of range."""

from __future__ import annotations

import pytest
import torch
from gpu_runs import Busy, exact_losses, pruned
from helpers import bls

from dynaprune import BLS, NoPrune
from dynaprune.planning.plan import Plan
from dynaprune.planning.weights import Weights

LENGTH = 64


def weighted(device, monkeypatch):
    """Return a dataset in an epoch with weights, which takes indices on the device as they are."""
    train = pruned(LENGTH)
    if device.type == "cpu":  # a tensor of the host stands for one of a device
        monkeypatch.setattr(train.epochs.source, "check_indices", torch.clone)
    for indices in train.batches(8, device=device):
        train.update(exact_losses(indices).mean())
    train.begin_epoch()
    assert train.weights.max() > 1
    return train


@pytest.mark.parametrize("losses", [1, 8])
@pytest.mark.parametrize("wrong", [-1, -LENGTH - 1, LENGTH, 2**40])
def test_out_of_range(device, monkeypatch, wrong, losses):
    if wrong > 2**31 and device.type == "cpu":
        pytest.skip("the host keeps indices in four bytes, because it checks them first")
    train = weighted(device, monkeypatch)
    indices = torch.arange(8, device=device)
    loss = torch.ones(losses, device=device)
    train.update(loss, indices=indices)
    indices[3] = wrong
    train.update(loss, indices=indices)
    with pytest.raises(RuntimeError, match=f"from 0 to 63, but {wrong} was given"):
        _ = train.scores
    with pytest.raises(RuntimeError, match=f"from 0 to 63, but {wrong} was given"):
        train.end_epoch()
    # an assertion on the device would be noticed by whatever comes next
    assert float(torch.ones(3, device=device).sum()) == 3
    other = bls(NoPrune, 8)
    for batch in other.batches(4, device=device):
        other.update(batch.float().mean())
    assert other.epoch == 1


def test_the_weights_of_those_in_range(device, monkeypatch):
    train = weighted(device, monkeypatch)
    for chunk in torch.arange(LENGTH).split(8):
        own, losses = train.weights[chunk], exact_losses(chunk)
        there = chunk.to(device)
        if chunk[0] % 16 == 0:
            scaled = train.update(losses.mean().to(device), indices=there)
            expected = losses.mean() * own.mean()
        else:
            scaled = train.update(losses.to(device), indices=there)
            expected = (losses * own).mean()
        assert scaled.device.type == device.type
        assert float(scaled) == pytest.approx(float(expected), rel=1e-6)


def test_indices_that_are_written_to_afterwards(device, monkeypatch):
    train = weighted(device, monkeypatch)
    before = train.scores
    indices = torch.arange(8, device=device)
    train.update(torch.full((), 100.0, device=device), indices=indices)
    indices.fill_(40)
    after = train.scores
    assert (after != before).nonzero().flatten().tolist() == list(range(8))


@pytest.mark.parametrize("losses", [1, 8])
def test_a_loss_on_the_host_with_indices_on_the_device(device, monkeypatch, losses):
    """Weights that come to the host are there before the loss is multiplied by them."""
    train = weighted(device, monkeypatch)
    indices, loss = torch.arange(8, device=device), torch.full((losses,), 3.0)
    expected = 3 * float(train.weights[:8].mean())
    for _ in range(3):
        busy = Busy(device, seconds=0.1)
        scaled = train.update(loss, indices=indices)
        assert scaled.device.type == "cpu"
        assert float(scaled) == pytest.approx(expected)
        assert busy.is_over() or device.type == "cpu"
    assert float(train.scores[:8].sub(3).abs().max()) < 1


@pytest.mark.parametrize("levels", [2, 5])
def test_the_weights_of_a_plan(device, levels):
    """Weights of few and of many levels, at indices, some of them out of range."""
    weights = torch.arange(levels).repeat(4)[: 2 * levels].float() + 1
    number = weights.numel()
    known = Weights.scattered(torch.arange(number), weights, number)
    assert (known.codes is None) == (levels > 2)
    order = torch.arange(number, dtype=torch.int32)
    plan = Plan(0, order, known, due=order)
    indices = torch.arange(number, device=device)
    assert plan.sample_weights(indices).tolist() == weights.tolist()
    assert float(plan.mean_weight(indices)) == pytest.approx(float(weights.mean()))
    outside = torch.tensor([number, -1, 2**62, 0], device=device)
    assert plan.sample_weights(outside).isfinite().all()
    assert plan.mean_weight(outside).isfinite()


class Theirs(list[int]):
    """Another library's method, by the convention, with weights on the device."""

    def __init__(self, device):
        super().__init__(range(8))
        self.scores = torch.zeros(8)
        self.weights = torch.arange(1.0, 9.0, device=device)
        self.cur_batch_index = None

    def update(self, losses):
        raise NotImplementedError


@pytest.mark.parametrize("several", [False, True])
def test_an_object_of_another_library(device, several):
    theirs = BLS(Theirs(device), alpha=0.0).proxy()

    def update(samples):
        theirs.cur_batch_index = torch.tensor(samples, device=device)
        losses = torch.tensor([2.0, 4.0], device=device)
        return theirs.update(losses if several else losses.mean())

    assert float(update([1, 5])) == ((2.0 * 2 + 4.0 * 6) / 2 if several else 3.0 * 4)
    assert theirs.scores[[1, 5]].tolist() == ([2.0, 4.0] if several else [3.0, 3.0])

    def read(samples):
        update(samples)
        return theirs.scores

    for wrong in (8, -1):
        with pytest.raises(RuntimeError, match=f"from 0 to 7, but {wrong} was given"):
            read([0, wrong])
    assert float(torch.ones(3, device=device).sum()) == 3
