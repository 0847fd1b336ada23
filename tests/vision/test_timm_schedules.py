"""timm's schedules that count updates, and a timm of another version."""

from __future__ import annotations

import importlib

import pytest
import timm.data.loader
import torch
from helpers import mean_loss
from timm.scheduler import create_scheduler_v2
from timm_runs import PLAIN, Shades, pruned
from torch import nn

import dynaprune.integrations.timm
from dynaprune import InfoBatch, NoPrune, RandomPrune
from dynaprune.integrations.timm import PrunedScheduler, create_loader

EPOCHS, FULL = 6, 10


def run(method, *, warmup=0, resume_at=None, **options):
    """Train by timm's loop, and return the learning rate after each update."""
    loader, optimizer, scheduler = made(method, warmup, options)
    rates = []
    for epoch in range(EPOCHS):
        if epoch == resume_at:
            state = loader.dataset.state_dict()
            loader, optimizer, scheduler = made(method, warmup, options)
            loader.dataset.load_state_dict(state)
            scheduler.step_update(epoch * FULL)  # as timm's script does
        num_updates = epoch * len(loader)
        for _, labels in loader:
            loader.dataset.update(mean_loss(labels))
            num_updates += 1
            scheduler.step_update(num_updates=num_updates, metric=1.0)
            rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step(epoch + 1, 0.5)
    return rates


def made(method, warmup, options):
    train = pruned(Shades(60), EPOCHS, method, **options)
    loader = create_loader(train, 4, 6, num_workers=0, device=torch.device("cpu"), **PLAIN)
    updates = loader.batches_per_full_epoch
    assert updates == FULL
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        num_epochs=EPOCHS,
        warmup_epochs=warmup,
        step_on_epochs=False,
        updates_per_epoch=updates,
    )
    return loader, optimizer, PrunedScheduler(scheduler, loader, updates)


def cosine(updates):
    """timm's cosine after some updates: it falls to 0 at the end of full training."""
    return (1 + torch.cos(torch.pi * torch.as_tensor(updates) / (EPOCHS * FULL))) / 2


def test_full_training_has_timms_schedule():
    rates = run(NoPrune)
    torch.testing.assert_close(torch.tensor(rates), cosine(torch.arange(1.0, EPOCHS * FULL + 1)))


def test_pruned_epochs_end_where_full_ones_do():
    """Half of the updates are made, each for two of full training."""
    rates = run(RandomPrune, saving=0.5)
    assert len(rates) == EPOCHS * FULL // 2
    expected = cosine(torch.arange(2.0, EPOCHS * FULL + 1, 2))
    torch.testing.assert_close(torch.tensor(rates), expected)


def test_epochs_of_different_lengths():
    rates = run(InfoBatch)
    assert len(rates) < EPOCHS * FULL
    assert rates[FULL - 1] == pytest.approx(float(cosine(FULL)))  # the first epoch is full
    assert rates[-1] == pytest.approx(0.0, abs=1e-6)
    assert rates == sorted(rates, reverse=True)


def test_warm_up_takes_its_share_of_the_run():
    """It lasts two epochs, which are ten updates of twenty: then the cosine goes on from there."""
    rates = run(RandomPrune, saving=0.5, warmup=2)
    assert rates[:9] == pytest.approx([1e-5 + (1 - 1e-5) * t / 20 for t in range(2, 20, 2)])
    assert rates[9:11] == pytest.approx(cosine([20.0, 22.0]).tolist())


def test_a_resumed_run_goes_on_in_its_place():
    assert run(InfoBatch, resume_at=3) == run(InfoBatch)


def test_a_schedule_of_epochs_is_timms():
    train = pruned(Shades(60), EPOCHS)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    scheduler, _ = create_scheduler_v2(optimizer, num_epochs=EPOCHS)
    scheduler = PrunedScheduler(scheduler, train, 1)
    scheduler.step(3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5)


def test_a_schedule_of_torch():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(TypeError, match=r"step_update\(\), but a StepLR .* dynaprune\.Pruned"):
        PrunedScheduler(theirs, pruned(Shades(60)), 1)


def test_a_version_that_has_renamed_the_prefetcher(monkeypatch):
    monkeypatch.delattr(timm.data.loader, "PrefetchLoader")
    with pytest.raises(ImportError, match=r"timm\.data\.loader\.PrefetchLoader.* timm 1\.0"):
        importlib.reload(dynaprune.integrations.timm)
    monkeypatch.undo()
    importlib.reload(dynaprune.integrations.timm)
