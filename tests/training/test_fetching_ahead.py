"""Loops that fetch a batch before they update the one before: the right score, or an error."""

from __future__ import annotations

import queue
import threading
from collections import deque

import numpy as np
import pytest
import torch
from fetching import copied_ahead, held_back
from helpers import Numbers, bls, mean_loss, train_epoch

from dynaprune import BLS, DataLoader, InfoBatch


@pytest.mark.parametrize("ahead", [held_back, copied_ahead])
def test_a_batch_that_was_fetched_ahead_is_refused_at_the_first_step(ahead):
    train = bls(InfoBatch, 60)
    for batch in ahead(DataLoader(train, batch_size=5)):
        with pytest.raises(RuntimeError, match=r"another batch before.*update\(loss, batch=batch"):
            train.update(mean_loss(batch))
        break
    assert train.summary().visits_made == 0


def written_out(loader, train):
    """Fetch ahead in the loop itself."""
    batches = iter(loader)
    held = next(batches).clone()
    for batch in batches:
        train.update(mean_loss(held))
        held = batch.clone()


def one_behind(loader, train):
    """The same, with the copy in place of what was fetched."""
    held = None
    for batch in loader:
        batch = batch.clone()
        if held is not None:
            train.update(mean_loss(held))
        held = batch


def copies_ahead(loader, train):
    for batch in copied_ahead(loader):
        train.update(mean_loss(batch))


def by_a_thread(loader, train):
    """A queue between the loader and the loop, with copies."""
    fetched = queue.Queue()

    def fetch():
        fetched.put(next(batches).clone())
        fetched.put(next(batches).clone())

    batches = iter(loader)
    fetching = threading.Thread(target=fetch)
    fetching.start()
    fetching.join()
    train.update(mean_loss(fetched.get()))


@pytest.mark.parametrize("loop", [written_out, one_behind, copies_ahead, by_a_thread])
@pytest.mark.parametrize("plain_epochs", [0, 1])
def test_copies_that_were_fetched_ahead_are_refused_after_a_plain_loop_too(loop, plain_epochs):
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=5)
    for _ in range(plain_epochs):
        train_epoch(loader, mean_loss)
    made = train.summary().visits_made
    with pytest.raises(RuntimeError, match=r"another batch before.*update\(loss, batch=batch"):
        loop(loader, train)
    assert train.summary().visits_made == made


def test_a_thread_that_fetches_is_not_taken_for_a_loop_that_skips():
    """Its first batch may be updated before it has fetched the second."""
    train = bls(InfoBatch, 60)
    batches = iter(DataLoader(train, batch_size=5))

    def fetched():
        got = []
        fetching = threading.Thread(target=lambda: got.append(next(batches).clone()))
        fetching.start()
        fetching.join()
        return got.pop()

    train.update(mean_loss(fetched()))
    second, _ = fetched(), fetched()
    with pytest.raises(RuntimeError, match="another batch before"):
        train.update(mean_loss(second))


def test_a_loop_that_holds_a_batch_back_after_some_steps_is_refused():
    train, held, trained = bls(InfoBatch, 60), None, 0
    for number, batch in enumerate(DataLoader(train, batch_size=5)):
        if number < 3:
            train.update(mean_loss(batch))
            trained += 1
        elif held is None:
            held = batch
        else:
            with pytest.raises(RuntimeError, match="another batch before"):
                train.update(mean_loss(held))
            break
    assert (trained, number) == (3, 4)


# Another library's loaders


class Endless:
    """Workers that live on: the next epoch's first batches are fetched with this one's last."""

    def __init__(self, train, batch_size, prefetched, drop_last=False):
        self.train, self.prefetched = train, prefetched
        self.batch_sampler = torch.utils.data.BatchSampler(train.sampler, batch_size, drop_last)
        self.dataset = train.with_indices()
        self.waiting = deque()
        self.batches = self.run()

    def run(self):
        while True:
            yield from self.batch_sampler

    def __len__(self):
        return len(self.batch_sampler)

    def __iter__(self):
        for _ in range(len(self)):
            while len(self.waiting) <= self.prefetched:
                self.waiting.append(next(self.batches))
            indices = self.waiting.popleft()
            yield torch.tensor([self.dataset[i][0] for i in indices]), torch.tensor(indices)


@pytest.mark.parametrize("prefetched", [0, 1, 4])
@pytest.mark.parametrize("drop_last", [False, True])
def test_endless_iterators_that_fetch_the_next_epoch_ahead(prefetched, drop_last):
    train = BLS(InfoBatch(Numbers(60), 20, saving=0.3)).proxy()
    loader = Endless(train, 5, prefetched, drop_last)
    epochs, made = [], 0
    for _ in range(20):
        for numbers, indices in loader:
            loss = mean_loss(numbers)
            scaled = train.update(loss, indices=indices)
            weights = train.weights[indices]
            assert float(scaled) == pytest.approx(float(loss) * float(weights.mean()))
            epochs.append(train.epochs.plan.epoch)
            made += len(indices)
    assert epochs == sorted(epochs)
    train.end_epoch()
    summary = train.summary()
    assert summary.epochs == 20
    assert summary.visits_made == made
    if not drop_last:
        assert made == round(0.7 * 60 * 20)
        assert summary.share_saved == pytest.approx(0.3)


class ByLength(torch.utils.data.Sampler):
    """Batches that are put together from all that is served."""

    def __init__(self, sampler, size):
        self.sampler, self.size = sampler, size

    def __len__(self):
        return -(-len(self.sampler) // self.size)

    def __iter__(self):
        order = sorted(self.sampler)
        return iter([order[i : i + self.size] for i in range(0, len(order), self.size)])


def test_batches_that_both_epochs_could_have_are_refused():
    train = bls(InfoBatch, 60)
    batches = ByLength(train.sampler, 5)
    first = list(batches)
    for indices in first[:4]:
        train.update(torch.tensor(1.0), indices=indices)
    second = list(batches)  # the next epoch has the same samples: nothing was scored yet
    with pytest.raises(RuntimeError, match=r"cannot be told which epoch.*end_epoch\(\)"):
        train.update(torch.tensor(1.0), indices=[second[0][0], second[7][0]])
    train.end_epoch()
    train.update(torch.tensor(1.0), indices=next(iter(batches)))


def test_an_epoch_of_another_loader_that_is_left_early():
    train = bls(InfoBatch, 60)
    loader = torch.utils.data.DataLoader(train.with_indices(), batch_size=5, sampler=train.sampler)
    for epoch in range(4):
        for step, (numbers, indices) in enumerate(loader):
            train.update(mean_loss(numbers), indices=indices)
            assert train.epochs.plan.epoch == epoch
            if step == 3:
                break
    assert train.summary().epochs == 4


def test_a_look_with_another_loader():
    runs = []
    for looks in (False, True):
        train = bls(InfoBatch, 60)
        loader = torch.utils.data.DataLoader(
            train.with_indices(), batch_size=5, sampler=train.sampler
        )
        for _ in range(4):
            for step, (numbers, indices) in enumerate(loader):
                if looks and step in (0, 4):
                    next(iter(loader))
                train.update(mean_loss(numbers), indices=indices)
        train.end_epoch()
        runs.append((train.scores.tolist(), train.epoch, train.summary().visits_made))
    assert runs[0] == runs[1]


def test_repeated_epochs_are_served_shuffled_anew():
    """A check of the reference above: epochs differ, so mixing them up would be seen."""
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=5)
    one, other = train_epoch(loader, mean_loss), train_epoch(loader, mean_loss)
    assert not np.array_equal(one[:4], other[:4])
