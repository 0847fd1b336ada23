"""Each task of the benchmark, for a few steps."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.utils.data import Subset

from dynaprune import DataLoader, NoPrune
from dynaprune.bench.registry import find_task, find_tasks
from dynaprune.bench.training import reader, train_model
from dynaprune.bench.ways import WAYS
from dynaprune.utils.devices import to_device


@pytest.fixture(autouse=True)
def one_thread():
    """Small steps of many threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_there_is_enough_to_go_by():
    tasks = find_tasks().values()
    assert len({task.kind for task in tasks}) >= 11
    assert len({task.dataset for task in tasks}) >= 14
    assert len({task.model for task in tasks}) >= 18
    for task in tasks:
        assert task.margin > 0
        assert task.__doc__


@pytest.mark.long
@pytest.mark.parametrize("name", find_tasks())
def test_a_task_for_a_few_steps(name, shared_data):
    task = find_task(name)()
    task.load(shared_data)
    recipe = replace(task.recipe, epochs=6, batch_size=8)
    few = Subset(task.train, range(24))
    for way in ("full", "bls-infobatch", "infobatch", "slices-seta"):
        if not WAYS[way].fits(task):
            continue
        train = WAYS[way].make(few, recipe.epochs, 0, 0.3)
        model = train_model(task, recipe, train, seed=0, reads=WAYS[way].reads)
        visits = train.summary().visits_made
        assert visits == (144 if way == "full" else 101)  # 70%
        assert all(parameter.isfinite().all() for parameter in model.parameters())
    model.eval()
    with torch.no_grad():
        quality = task.evaluate(model)
        assert quality == task.evaluate(model)  # what it draws, it draws alike
    assert math.isfinite(quality)
    assert not task.in_percent or 0 <= quality <= 1


@pytest.mark.long
@pytest.mark.parametrize("name", find_tasks())
def test_the_losses_of_a_task_agree(name, shared_data):
    task = find_task(name)()
    task.load(shared_data)
    torch.manual_seed(0)
    model = task.make_model()
    train = NoPrune(Subset(task.train, range(11)), 1)
    batch = next(iter(DataLoader(train, batch_size=11, collate_fn=task.collate())))
    batch = to_device(batch, task.device)
    outputs = task.outputs(model, batch)
    mean = task.loss(outputs, batch)
    assert mean.shape == ()
    assert mean.requires_grad
    if task.has_losses:
        losses = task.losses(outputs, batch)
        assert losses.shape == (11,)
        torch.testing.assert_close(losses.mean(), mean)
    if task.can_slice:
        means = reader(task, "slices")(outputs, batch)  # ⌈11/8⌉ = 2 samples, the last one 1
        assert means.shape == (6,)
        sizes = torch.tensor([2.0, 2, 2, 2, 2, 1])
        torch.testing.assert_close((means * sizes).sum() / 11, mean)
    loss = train.update(mean)
    torch.testing.assert_close(loss, mean)
