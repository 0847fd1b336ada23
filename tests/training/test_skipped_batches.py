"""Loops that skip batches, or look at some before they train."""

from __future__ import annotations

import pytest
import torch
from fetching import ALPHA, moving_average
from helpers import Numbers, bls, mean_loss

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune


@pytest.mark.parametrize("skipped", [{0}, {3}, {0, 1, 2}, {11}, {2, 5, 6}])
def test_a_loop_may_skip_batches(skipped):
    train = BLS(NoPrune(Numbers(60), 10), alpha=ALPHA).proxy()
    steps = []
    for number, batch in enumerate(DataLoader(train, batch_size=5)):
        if number in skipped:
            continue
        loss = mean_loss(batch)
        train.update(loss)
        steps.append((batch.tolist(), float(loss)))
    assert len(steps) == 12 - len(skipped)
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))
    assert train.epoch == 1


class InMemory(torch.utils.data.Dataset):
    """Pictures of several sizes, say, that are kept; a batch is a list of them."""

    def __init__(self, length):
        self.samples = [torch.tensor(float(number)) for number in range(length)]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


@pytest.mark.parametrize("keeper", ["dataset", "loop"])
def test_a_loop_may_skip_batches_that_live_on_anyway(keeper):
    as_list = {"collate_fn": list} if keeper == "dataset" else {}
    train = BLS(NoPrune(InMemory(60), 10), alpha=ALPHA).proxy()
    steps, kept = [], []
    for number, batch in enumerate(DataLoader(train, batch_size=5, **as_list)):
        if keeper == "loop":
            kept.append(batch)
        if number in {2, 5, 6}:
            continue
        numbers = torch.stack(list(batch))
        loss = mean_loss(numbers)
        train.update(loss)
        steps.append((numbers.long().tolist(), float(loss)))
    assert len(steps) == 9
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))


def passed_on(loader):
    yield from loader


def shown(loader):
    """As progress bars do it."""
    for batch in loader:  # noqa: UP028
        yield batch


@pytest.mark.parametrize("around", [passed_on, shown])
def test_a_loop_that_skips_behind_a_generator_says_so(around):
    train = BLS(NoPrune(Numbers(60), 10), alpha=ALPHA).proxy()
    steps = []
    for number, batch in enumerate(around(DataLoader(train, batch_size=5))):
        if number in (0, 4):
            train.skip_batch()
            continue
        loss = mean_loss(batch)
        train.update(loss)
        steps.append((batch.tolist(), float(loss)))
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))


def test_skipping_behind_a_generator_is_told_apart_once_a_batch_was_updated():
    train = BLS(NoPrune(Numbers(60), 10), alpha=ALPHA).proxy()
    steps = []
    for number, batch in enumerate(shown(DataLoader(train, batch_size=5))):
        if number in (4, 7):
            continue
        loss = mean_loss(batch)
        train.update(loss)
        steps.append((batch.tolist(), float(loss)))
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))


def test_skipping_nothing_is_told():
    train = bls(InfoBatch, 20)
    with pytest.raises(RuntimeError, match="no batch waits for its update"):
        train.skip_batch()


# Two iterators


def test_a_loop_inside_a_loop_that_trains():
    """The outer batch waits while the inner ones are trained, and is not taken for them."""
    train = BLS(NoPrune(Numbers(60), 10), alpha=0.0).proxy()
    loader = DataLoader(train, batch_size=5)
    outer = iter(loader)
    train.update(mean_loss(next(outer)))
    kept = next(outer)
    trained = {}

    def inner():
        for batch in loader:
            train.update(mean_loss(batch))
            trained.update((sample, float(mean_loss(batch))) for sample in batch.tolist())

    inner()
    assert kept is not None
    assert train.scores.tolist() == pytest.approx([trained[sample] for sample in range(60)])


def test_two_loops_of_one_function_are_refused():
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=5)
    outer = iter(loader)
    train.update(mean_loss(next(outer)))
    kept = next(outer)
    for batch in loader:
        with pytest.raises(RuntimeError, match="several iterators.*delete the iterator"):
            train.update(mean_loss(batch))
        train.update(mean_loss(kept), batch=kept)
        break


def test_an_iterator_that_was_looked_at_before_the_loop():
    """As tutorials begin: `images, labels = next(dataiter)`, kept for good."""
    train = BLS(NoPrune(Numbers(60), 10), alpha=ALPHA).proxy()
    loader = DataLoader(train, batch_size=5)
    looks = iter(loader)
    shown_batch = next(looks)
    steps = []
    for batch in loader:
        loss = mean_loss(batch)
        train.update(loss)
        steps.append((batch.tolist(), float(loss)))
    assert shown_batch is not None
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))


def test_a_look_taken_for_the_training_is_told_at_the_next_step():
    """In the first step of a run nothing tells the two apart."""
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=5)
    batches = iter(loader)
    first = next(batches)
    looks = iter(loader)
    look = next(looks)
    train.update(mean_loss(first))
    with pytest.raises(RuntimeError, match="several iterators"):
        train.update(mean_loss(next(batches)))
    assert look is not None
