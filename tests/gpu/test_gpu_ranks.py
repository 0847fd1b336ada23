"""A process group whose backend moves tensors of a GPU only."""

from __future__ import annotations

import pytest
import torch
from gpu_runs import bls_scores, exact_losses, pruned
from torch import distributed

from dynaprune import DataLoader
from dynaprune.training.distributed import Ranks

LENGTH = 64


@pytest.fixture
def backend(device, tmp_path):
    """Run a group of this process alone, by nccl or, on a CPU, by gloo."""
    name = "nccl" if device.type == "cuda" else "gloo"
    if not distributed.is_backend_available(name):
        pytest.skip(f"needs {name}")
    store = f"file://{tmp_path}/store"
    distributed.init_process_group(name, init_method=store, rank=0, world_size=1)
    try:
        yield name
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("on_device", [False, True])
def test_a_run(device, backend, on_device):
    """A group of one process: it shares epochs, makes no collective of its own, and resumes."""
    train, told = pruned(LENGTH), []
    for epoch in range(3):
        batches = train.batches(8, device=device) if on_device else DataLoader(train, 8)
        losses = []
        for batch in batches:
            loss = exact_losses(batch.to(device)).mean()
            train.update(loss)
            losses.append((batch, loss))
        told += [(batch.tolist(), float(loss)) for batch, loss in losses]
        train.end_epoch()
        assert train.epoch == epoch + 1
        torch.testing.assert_close(train.scores, bls_scores(LENGTH, told), rtol=1e-5, atol=0)
        again = pruned(LENGTH)
        again.load_state_dict(train.state_dict())
        assert again.scores.equal(train.scores)


def test_the_collectives(device, backend):
    """Where there are several ranks, these are called: here each hears from itself alone."""
    train = pruned(LENGTH)
    for number, indices in enumerate(train.batches(8, device=device)):
        train.update(exact_losses(indices).mean())
        if number == 4:
            break
    plan, own = train.epochs.plan, train.epochs.record.batches()
    assert plan is not None
    ranks, facts = Ranks(), {"seed": 3, "method": "InfoBatch"}
    assert ranks.world_size == 1
    assert ranks.range_of(7) == (7, 7)
    ranks.agree(facts, train.epochs.record.first(), plan)
    received = ranks.exchange(own, plan, facts)
    assert received.indices.tolist() == own.indices.tolist()
    assert received.losses.equal(own.losses)
    assert received.sizes.tolist() == [8] * 5


def test_a_group_of_its_own(device, backend):
    train = pruned(LENGTH)
    train.process_group = distributed.new_group([0], backend=backend)
    assert train.epochs.ranks.range_of(5) == (5, 5)
