"""Batch samplers that repeat samples or drop some: what is served is counted by batches."""

from __future__ import annotations

import io
from collections import Counter

import pytest
import torch
from helpers import bls, mean_loss
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from dynaprune import DataLoader, InfoBatch, NoPrune, PrunedScheduler, RandomPrune

SIZE = 4


class Repeats(torch.utils.data.Sampler):
    """Repeated augmentation: each sample several times, side by side."""

    def __init__(self, sampler, times, has_length=True):
        self.sampler, self.times = sampler, times
        if not has_length:
            self.__class__ = NoLength

    def __len__(self):
        return -(-len(self.sampler) * self.times // SIZE)

    def __iter__(self):
        batch = []
        for sample in self.sampler:
            for _ in range(self.times):
                batch.append(sample)
                if len(batch) == SIZE:
                    yield batch
                    batch = []
        if batch:
            yield batch


class NoLength(Repeats):
    __len__ = None  # type: ignore[assignment]


class Rounds(torch.utils.data.Sampler):
    """The whole epoch several times, one after the other."""

    def __init__(self, sampler, times):
        self.sampler, self.times = sampler, times

    def __len__(self):
        return -(-len(self.sampler) // SIZE) * self.times

    def __iter__(self):
        samples = list(self.sampler)
        for _ in range(self.times):
            yield from (samples[i : i + SIZE] for i in range(0, len(samples), SIZE))


class Drops(torch.utils.data.Sampler):
    """Every fifth sample is left out."""

    def __init__(self, sampler):
        self.sampler = sampler

    def __len__(self):
        kept = len(self.sampler) - len(self.sampler) // 5
        return -(-kept // SIZE)

    def __iter__(self):
        samples = [s for i, s in enumerate(self.sampler) if i % 5 != 4]
        return iter([samples[i : i + SIZE] for i in range(0, len(samples), SIZE)])


MADE = {
    "twice": lambda sampler: Repeats(sampler, 2),
    "three times": lambda sampler: Repeats(sampler, 3),
    "rounds": lambda sampler: Rounds(sampler, 2),
    "drops": Drops,
}


@pytest.mark.parametrize(
    ("kind", "is_ours"),
    # another library's loader does not say how many batches there are
    [*((kind, True) for kind in MADE), ("twice", False), ("three times", False)],
)
def test_progress_is_the_share_of_batches_that_are_behind(kind, is_ours):
    train = bls(RandomPrune, 80, saving=0.3)
    batches = MADE[kind](train.sampler)
    if is_ours:
        loader = DataLoader(train, batch_sampler=batches)
    else:
        loader = torch.utils.data.DataLoader(train.with_indices(), batch_sampler=batches)
    for epoch in range(3):
        total = len(batches)
        for number, batch in enumerate(loader, start=1):
            if is_ours:
                train.update(mean_loss(batch))
            else:
                train.update(mean_loss(batch[0]), indices=batch[1])
            # a last batch has fewer samples than its share, or a sample's visits are not all behind
            assert train.progress == pytest.approx(epoch + number / total, abs=1.01 / total)
            assert train.progress <= epoch + 1
        assert number == total
        assert train.progress == pytest.approx(epoch + 1)
        train.end_epoch()


@pytest.mark.parametrize("kind", list(MADE))
def test_a_schedule_arrives_when_the_run_does(kind):
    train = bls(RandomPrune, 80, saving=0.3, num_epochs=3)
    loader = DataLoader(train, batch_sampler=MADE[kind](train.sampler))
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    steps = LambdaLR(optimizer, lambda step: step)
    scheduler = PrunedScheduler(steps, loader, steps_per_full_epoch=100)
    for epoch in range(3):
        total = len(loader)
        for number, batch in enumerate(loader, start=1):
            train.update(mean_loss(batch))
            optimizer.step()
            scheduler.step()
            assert abs(steps.last_epoch - 100 * (epoch + number / total)) <= 1 + 100 / total
        assert steps.last_epoch == 100 * (epoch + 1)


def resumed(train, **arguments):
    """Return a new object that goes on from the state of `train`, by way of a file."""
    file = io.BytesIO()
    torch.save(train.state_dict(), file)
    file.seek(0)
    other = bls(RandomPrune, 80, saving=0.3, **arguments)
    other.load_state_dict(torch.load(file, weights_only=True))
    return other


@pytest.mark.parametrize("kind", ["twice", "three times", "drops"])
@pytest.mark.parametrize("stop_after", [1, 9, 10, 17])
def test_a_checkpoint_loses_nothing_of_the_epoch(kind, stop_after):
    whole = bls(RandomPrune, 80, saving=0.3)
    expected = Counter(
        sample
        for batch in DataLoader(whole, batch_sampler=MADE[kind](whole.sampler))
        for sample in batch.tolist()
    )
    train, visits = bls(RandomPrune, 80, saving=0.3), Counter()
    loader = DataLoader(train, batch_sampler=MADE[kind](train.sampler))
    for number, batch in enumerate(loader, start=1):
        if number > len(loader):
            break
        train.update(mean_loss(batch))
        visits.update(batch.tolist())
        if number == min(stop_after, len(loader)):
            other = resumed(train)
            break
    if other.epoch == 0:
        for batch in DataLoader(other, batch_sampler=MADE[kind](other.sampler)):
            other.update(mean_loss(batch))
            visits.update(batch.tolist())
    assert other.epoch == 1
    if kind == "drops":  # which ones it leaves out depends on what is still due
        assert set(visits) <= set(whole.epochs.plan.order.tolist())
        assert sum(visits.values()) >= 0.75 * len(whole.epochs.plan)
        assert max(visits.values()) == 1
        return
    assert set(visits) == set(expected)
    # but for the sample whose visits were under way, each has as many as in a run that goes on
    differing = [sample for sample in expected if visits[sample] != expected[sample]]
    assert len(differing) <= 1
    assert all(visits[sample] > expected[sample] for sample in differing)


def test_a_batch_sampler_that_does_not_know_its_length():
    train = bls(NoPrune, 40)
    batches = Repeats(train.sampler, 2, has_length=False)
    for number, batch in enumerate(DataLoader(train, batch_sampler=batches), start=1):
        train.update(mean_loss(batch))
        assert train.progress == pytest.approx(number / 20, abs=0.03)
        if number == 10:
            other = bls(NoPrune, 40)
            other.load_state_dict(train.state_dict())
            due = len(other.sampler)
    assert due == 20
    assert train.progress == 1.0


def test_what_was_skipped_is_behind():
    train = bls(InfoBatch, 40)
    for number, batch in enumerate(DataLoader(train, batch_size=4), start=1):
        if number % 3 == 0:
            continue
        train.update(mean_loss(batch))
        assert train.progress == pytest.approx(number / 10)
    assert train.progress == 1.0
    assert train.epoch == 1


@pytest.mark.parametrize("kind", ["twice", "three times", "rounds"])
def test_what_is_saved_is_a_share_of_all_visits(kind):
    train = bls(RandomPrune, 80, num_epochs=3, saving=0.25)
    for _ in range(3):
        for batch in DataLoader(train, batch_sampler=MADE[kind](train.sampler)):
            train.update(mean_loss(batch))
    assert train.summary().share_saved == pytest.approx(0.25)
