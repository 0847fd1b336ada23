"""Schedules that were built for full epochs, in runs whose epochs are shorter."""

from __future__ import annotations

import copy
import pickle
import random

import pytest
import torch
from helpers import Numbers, bls, mean_loss
from torch.optim import lr_scheduler
from torch.utils.data import BatchSampler

from dynaprune import DataLoader, InfoBatch, NoPrune, PrunedScheduler, RandomPrune, SeTa

EPOCHS, BATCH = 12, 5
SCHEDULERS = {
    "one cycle": lambda optimizer, total: lr_scheduler.OneCycleLR(optimizer, 0.1, total),
    "cosine": lambda optimizer, total: lr_scheduler.CosineAnnealingLR(optimizer, total),
    "linear": lambda optimizer, total: lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total),
    "warm-up, then cosine": lambda optimizer, total: lr_scheduler.SequentialLR(
        optimizer,
        [
            lr_scheduler.LinearLR(optimizer, 0.1, 1.0, total // 10),
            lr_scheduler.CosineAnnealingLR(optimizer, total - total // 10),
        ],
        [total // 10],
    ),
    "steps": lambda optimizer, total: lr_scheduler.StepLR(optimizer, total // 3),
    "lambda": lambda optimizer, total: lr_scheduler.LambdaLR(
        optimizer, lambda step: 1 - step / total
    ),
}


def optimizer_of():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)


def rates_of(name, total):
    """The learning rates of full training, one a step."""
    optimizer = optimizer_of()
    scheduler = SCHEDULERS[name](optimizer, total)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(total):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def train_with(train, scheduler_of, every=1, per_epoch=False, epochs=EPOCHS, **arguments):
    """Train, and return the wrapped scheduler and the rates: of the steps, by epoch."""
    loader = DataLoader(train, batch_size=BATCH, **arguments)
    optimizer = optimizer_of()
    scheduler = scheduler_of(optimizer, loader)
    rates = []
    for _ in range(epochs):
        rates.append([])
        batches = len(loader)
        for number, batch in enumerate(loader, start=1):
            train.update(mean_loss(batch))
            if number % every == 0 or number == batches:
                rates[-1].append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                if not per_epoch:
                    scheduler.step()
        if per_epoch:
            scheduler.step()
    return scheduler, rates, optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("method", [InfoBatch, SeTa, RandomPrune])
def test_a_schedule_by_steps_arrives_at_its_end(method, name, every):
    full = -(-103 // BATCH)
    steps = -(-full // every)
    expected = rates_of(name, EPOCHS * steps)

    def wrap(optimizer, loader):
        assert loader.batches_per_full_epoch == full
        return PrunedScheduler(SCHEDULERS[name](optimizer, EPOCHS * steps), loader, steps)

    train = bls(method, 103, num_epochs=EPOCHS)
    scheduler, rates, last = train_with(train, wrap, every)
    assert train.summary().visits_avoided > 0
    assert sum(map(len, rates)) < EPOCHS * steps
    assert scheduler.steps == EPOCHS * steps
    assert last == expected[-1]
    for epoch, of_epoch in enumerate(rates):  # each epoch begins where full training does
        assert of_epoch[0] == expected[epoch * steps]
        for number, rate in enumerate(of_epoch):
            reached = epoch * steps + number * steps // len(of_epoch)
            assert rate in expected[reached : reached + 3]


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_where_nothing_is_pruned_it_is_the_scheduler(every, drop_last):
    full = 103 // BATCH + (0 if drop_last else 1)
    steps = -(-full // every)
    expected = rates_of("one cycle", EPOCHS * steps)
    _, rates, last = train_with(
        bls(NoPrune, 103),
        lambda optimizer, loader: PrunedScheduler(
            SCHEDULERS["one cycle"](optimizer, EPOCHS * steps), loader, steps
        ),
        every,
        drop_last=drop_last,
    )
    assert [rate for epoch in rates for rate in epoch] + [last] == expected


@pytest.mark.parametrize("name", ["cosine", "steps", "warm-up, then cosine"])
def test_a_schedule_by_epochs(name):
    expected = rates_of(name, EPOCHS)
    scheduler, rates, last = train_with(
        bls(InfoBatch, 103, num_epochs=EPOCHS),
        lambda optimizer, loader: PrunedScheduler(SCHEDULERS[name](optimizer, EPOCHS), loader, 1),
        per_epoch=True,
    )
    assert [epoch[0] for epoch in rates] + [last] == expected
    assert scheduler.steps == EPOCHS


@pytest.mark.parametrize("wrong", [5, 100])
def test_a_wrong_number_of_steps_never_runs_past_the_end(wrong):
    """Where a schedule ends is its own: what was said to be an epoch is not exceeded."""
    scheduler, _, _ = train_with(
        bls(InfoBatch, 103, num_epochs=EPOCHS),
        lambda optimizer, loader: PrunedScheduler(
            SCHEDULERS["one cycle"](optimizer, EPOCHS * wrong), loader, wrong
        ),
    )
    assert scheduler.steps == EPOCHS * wrong


def test_an_epoch_left_early_counts_as_one():
    train = bls(NoPrune, 100)
    loader = DataLoader(train, batch_size=BATCH)
    optimizer = optimizer_of()
    scheduler = PrunedScheduler(SCHEDULERS["cosine"](optimizer, 40), loader, 20)
    for _ in range(2):
        for batch in loader:
            train.update(mean_loss(batch))
            optimizer.step()
            scheduler.step()
            break
    assert scheduler.steps == 21


@pytest.mark.parametrize("stop", [1, 7, 30])
def test_after_a_resume(stop):
    def build(train):
        loader = DataLoader(train, batch_size=BATCH)
        optimizer = optimizer_of()
        steps = loader.batches_per_full_epoch
        one_cycle = SCHEDULERS["one cycle"](optimizer, EPOCHS * steps)
        return loader, optimizer, PrunedScheduler(one_cycle, loader, steps)

    def run(train, loader, optimizer, scheduler, stop=None):
        rates = []
        for _ in range(train.epoch, EPOCHS):
            for batch in loader:
                train.update(mean_loss(batch))
                optimizer.step()
                scheduler.step()
                rates.append(optimizer.param_groups[0]["lr"])
                if len(rates) == stop:
                    parts = train, optimizer, scheduler
                    return rates, copy.deepcopy([part.state_dict() for part in parts])
        return rates, None

    whole = bls(InfoBatch, 103, num_epochs=EPOCHS)
    expected, _ = run(whole, *build(whole))
    train = bls(InfoBatch, 103, num_epochs=EPOCHS)
    rates, states = run(train, *build(train), stop)
    train = bls(InfoBatch, 103, num_epochs=EPOCHS)
    loader, optimizer, scheduler = build(train)
    for part, state in zip((train, optimizer, scheduler), states, strict=True):
        part.load_state_dict(state)
    assert rates + run(train, loader, optimizer, scheduler)[0] == expected


@pytest.mark.parametrize("name", ["one cycle", "cosine", "lambda"])
@pytest.mark.parametrize("batch_sizes", [(5, 10), (10, 5)])
def test_after_a_resume_with_another_number_of_steps(name, batch_sizes):
    """More ranks, or another batch size: the schedule still ends with the run."""
    total, rates, state = 100, [], None
    for batch_size, epochs in zip(batch_sizes, (range(5), range(5, 10)), strict=True):
        train = bls(NoPrune, total)
        loader = DataLoader(train, batch_size=batch_size)
        optimizer = optimizer_of()
        steps = loader.batches_per_full_epoch
        scheduler = PrunedScheduler(SCHEDULERS[name](optimizer, 10 * steps), loader, steps)
        parts = {"train": train, "optimizer": optimizer, "scheduler": scheduler}
        if state is not None:
            for key, part in parts.items():
                part.load_state_dict(state[key])
        for _ in epochs:
            for batch in loader:
                train.update(mean_loss(batch))
                optimizer.step()
                scheduler.step()
            rates.append(optimizer.param_groups[0]["lr"])
        state = copy.deepcopy({key: part.state_dict() for key, part in parts.items()})
    expected = rates_of(name, 10 * 20)[20::20]
    # one cycle counts from its first step to its last, so other units shift it by a step
    assert rates == pytest.approx(expected, abs=2e-3 if name == "one cycle" else 1e-6)


def test_an_incomplete_state():
    scheduler = PrunedScheduler(SCHEDULERS["cosine"](optimizer_of(), 10), bls(NoPrune, 20), 5)
    with pytest.raises(RuntimeError, match="the scheduler's state is incomplete, it has no steps"):
        scheduler.load_state_dict({"scheduler": {}})


def test_it_is_the_scheduler_for_all_else():
    train = bls(NoPrune, 20)
    optimizer = optimizer_of()
    cosine = SCHEDULERS["cosine"](optimizer, 10)
    scheduler = PrunedScheduler(cosine, train, 5)
    assert scheduler.get_last_lr() == [0.1]
    assert scheduler.optimizer is optimizer
    assert scheduler.T_max == 10
    twin = pickle.loads(pickle.dumps(PrunedScheduler(cosine, bls(NoPrune, 20), 5)))
    assert twin.steps_per_full_epoch == 5


def test_any_loader_of_a_pruned_dataset():
    train = bls(NoPrune, 20)
    scheduler = SCHEDULERS["cosine"](optimizer_of(), 10)
    plain = torch.utils.data.DataLoader
    for loader in (
        train,
        DataLoader(train),
        DataLoader(train, batch_sampler=BatchSampler(train.sampler, 4, False)),
        plain(train.with_indices(), sampler=train.sampler),
        plain(train.with_indices(), batch_sampler=BatchSampler(train.sampler, 4, False)),
    ):
        assert PrunedScheduler(scheduler, loader, 5)._train is train


def test_bad_arguments():
    scheduler, train = SCHEDULERS["cosine"](optimizer_of(), 10), bls(NoPrune, 20)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer_of())
    for arguments, error, message in [
        ((None, train, 5), TypeError, "scheduler must be .* but a NoneType was given"),
        ((plateau, train, 5), TypeError, "follows a metric and not a schedule"),
        ((scheduler, Numbers(3), 5), TypeError, "must serve a pruned dataset.* a Numbers was"),
        ((scheduler, train, 0), ValueError, "steps_per_full_epoch must be at least 1"),
        ((scheduler, train, 2.0), TypeError, "steps_per_full_epoch must be an integer"),
    ]:
        with pytest.raises(error, match=message):
            PrunedScheduler(*arguments)


class Odd(BatchSampler):
    pass


def test_batches_of_a_full_epoch():
    train = bls(RandomPrune, 103)
    assert len(DataLoader(train, batch_size=5)) == 11
    assert DataLoader(train, batch_size=5).batches_per_full_epoch == 21
    assert DataLoader(train, batch_size=5, drop_last=True).batches_per_full_epoch == 20
    assert DataLoader(train, batch_size=None).batches_per_full_epoch == 103
    assert DataLoader(Numbers(103), batch_size=5).batches_per_full_epoch == 21
    with pytest.raises(TypeError, match="batches that a Odd makes of a full epoch is un"):
        _ = DataLoader(train, batch_sampler=Odd(train.sampler, 5, False)).batches_per_full_epoch


class Repeating:
    """Each sample three times in a batch: repeated augmentation."""

    def __init__(self, sampler, batch_size=15):
        self.sampler, self.batch_size = sampler, batch_size

    def __iter__(self):
        for batch in BatchSampler(self.sampler, self.batch_size // 3, drop_last=False):
            yield [i for i in batch for _ in range(3)]

    def __len__(self):
        return -(-len(self.sampler) * 3 // self.batch_size)


class Dropping:
    """Batches without a tenth of the samples, drawn anew each epoch."""

    def __init__(self, sampler, batch_size=5):
        self.sampler, self.batch_size = sampler, batch_size
        self.random = random.Random(0)

    def __iter__(self):
        samples = list(self.sampler)
        dropped = set(self.random.sample(range(len(samples)), len(samples) // 10))
        kept = [i for at, i in enumerate(samples) if at not in dropped]
        yield from BatchSampler(kept, self.batch_size, drop_last=False)

    def __len__(self):
        kept = len(self.sampler) - len(self.sampler) // 10
        return -(-kept // self.batch_size)


@pytest.mark.parametrize("method", [NoPrune, RandomPrune])
@pytest.mark.parametrize("batches_of", [Repeating, Dropping])
def test_a_batch_sampler_that_repeats_or_drops_samples(batches_of, method):
    """The schedule follows how much of the epoch was served, and not how many visits that took."""
    epochs, length = 4, 100
    train = bls(method, length, num_epochs=epochs)
    loader = DataLoader(train, batch_sampler=batches_of(train.sampler))
    full = len(batches_of(range(length)))  # of 20 or 18 batches
    optimizer = optimizer_of()
    schedule = lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (epochs * full))
    scheduler = PrunedScheduler(schedule, loader, full)
    for epoch in range(epochs):
        served = len(loader)
        for number, batch in enumerate(loader, start=1):
            train.update(mean_loss(batch))
            optimizer.step()
            scheduler.step()
            # of Dropping it is not known beforehand where the dropped ones will have been
            allowed = 0 if batches_of is Repeating else 0.2 * full
            assert abs(scheduler.steps - (epoch + number / served) * full) < 1 + allowed
    assert epochs * full - 1 <= scheduler.steps <= epochs * full
