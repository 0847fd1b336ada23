"""Losses of other streams than the one that reads them, and of several."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gpu_runs import Busy, bls_scores, exact_losses, on_stream, pruned, side_stream
from helpers import Numbers

from dynaprune import BLS, NoPrune, SampleLoss
from dynaprune.losses.buffer import LossBuffer

LENGTH = 1024


def settle(device):
    """Wait for what streams are to read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def test_a_side_stream_that_is_busy_when_the_losses_are_read(device):
    train = BLS(NoPrune(Numbers(LENGTH), 3)).proxy()
    every, side, steps = exact_losses(torch.arange(LENGTH)).to(device), side_stream(device), []
    for _ in range(2):
        for number, indices in enumerate(train.batches(8, device=device)):
            if number == 0:
                settle(device)
            with on_stream(side):
                if number == LENGTH // 8 - 3:
                    busy = Busy(device, seconds=0.3)
                loss = every[indices].mean()
                train.update(loss)
            steps.append((indices, loss))
        assert not busy.is_over()
        scores = train.scores  # on the default stream
        settle(device)
        told = [(indices.tolist(), float(loss)) for indices, loss in steps]
        torch.testing.assert_close(scores, bls_scores(LENGTH, told), rtol=1e-5, atol=0)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("turns", [1, 7, 100])
def test_streams_in_turn(device, several, turns):
    """Each gets the slots of the other one, if they share some, while that is still busy.

    What a stream writes on memory that another has left behind would come too early as well.
    """
    train = SampleLoss(NoPrune(Numbers(LENGTH), 3)).proxy() if several else None
    train = train or BLS(NoPrune(Numbers(LENGTH), 3), alpha=0.0).proxy()
    every = exact_losses(torch.arange(LENGTH)).to(device)
    streams = [side_stream(device), side_stream(device)]
    order = train.begin_epoch().order.long()
    batches = [(each, each.to(device)) for each in order.split(4)]  # 256 of them
    settle(device)
    for number, (on_host, indices) in enumerate(batches):
        with on_stream(streams[number // turns % 2]):
            if number % 64 == 0:
                Busy(device, seconds=0.05)
            losses = every[indices]
            train.update(losses if several else losses.mean(), indices=on_host)
            torch.full((64,), -1.0, device=device)  # on memory that is free
    scores = train.scores
    known = exact_losses(torch.arange(LENGTH))
    for on_host, _ in batches:
        expected = known[on_host] if several else known[on_host].mean().expand(len(on_host))
        assert scores[on_host].tolist() == expected.tolist()


def test_the_weights_for_a_stream_that_is_not_the_first_to_ask(device):
    """The first one is busy before it copies them."""
    train = pruned(LENGTH)
    for indices in train.batches(8, device=device):
        train.update(exact_losses(indices).mean())
    order = train.begin_epoch().order.long()
    weights, streams = train.weights, [side_stream(device), side_stream(device)]
    one, other = (order[start : start + 8] for start in (0, 8))
    there, loss = [one.to(device), other.to(device)], torch.ones((), device=device)
    settle(device)
    with on_stream(streams[0]):
        Busy(device, seconds=0.3)
        first = train.update(loss, indices=there[0])
    with on_stream(streams[1]):
        second = train.update(loss, indices=there[1])
    settle(device)
    assert weights[one].mean() != 1
    assert float(first) == pytest.approx(float(weights[one].mean()))
    assert float(second) == pytest.approx(float(weights[other].mean()))


def test_steps_that_are_set_aside(device):
    """What a stream has written is left as it is where another one goes on: all of it is read."""
    record, expected = LossBuffer(), []
    for number in range(300):
        if number % 70 in (0, 3, 68):
            record._pack(device, 0)
        losses = torch.arange(2.0 if number % 5 == 0 else 1.0, device=device) + number
        samples = torch.tensor([number, 500]) if number % 3 else np.array([number, 500])
        record.append(samples, losses)
        expected += losses.tolist()
    batches = record.batches()
    assert batches.losses.tolist() == expected
    assert batches.indices.tolist() == [each for number in range(300) for each in (number, 500)]
    assert len(record) == 300
