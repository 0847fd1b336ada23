"""Loops that fetch a batch before they update the one before: the right score, or an error."""

from __future__ import annotations

import queue
import threading
from collections import deque
from itertools import islice

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, mean_loss, train_epoch

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, read_recording

ALPHA = 0.7


def moving_average(steps, length):
    """Return the scores of a run of one epoch, from the definition: s ← α·s + (1−α)·L."""
    scores = {}
    for batch, loss in steps:
        for sample in batch:
            scores[sample] = ALPHA * scores.get(sample, float(steps[0][1])) + (1 - ALPHA) * loss
    return [scores.get(sample, float(steps[0][1])) for sample in range(length)]


def held_back(loader):
    """Yield each batch when the next one is there, as prefetchers to a device do."""
    batches = iter(loader)
    held = next(batches)
    for batch in batches:
        yield held
        held = batch
    yield held


def copied_ahead(loader):
    """The same with copies, as what lies on a device is."""
    batches = iter(loader)
    held = next(batches).clone()
    for batch in batches:
        following = batch.clone()
        yield held
        held = following
    yield held


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


def test_the_batch_may_be_said_by_itself():
    train = BLS(NoPrune(Numbers(60), 10), alpha=ALPHA).proxy()
    steps = []
    for batch in held_back(DataLoader(train, batch_size=5)):
        loss = mean_loss(batch)
        train.update(loss, batch=batch)
        steps.append((batch.tolist(), float(loss)))
        if len(steps) == 7:
            break
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))


@pytest.mark.parametrize("depth", [1, 3])
def test_the_batch_may_be_said_by_a_tensor_of_it(depth):
    """Also with structure around it, and several batches ahead."""
    data = torch.utils.data.TensorDataset(torch.arange(60), torch.arange(60) * 2)
    train = bls(NoPrune, 60)
    train = BLS(InfoBatch(data, 10), alpha=ALPHA).proxy()
    loader = DataLoader(train, batch_size=5)
    for _ in range(3):
        waiting, steps = deque(), []

        def step(numbers, train=train, steps=steps):
            loss = mean_loss(numbers)
            weight = float(train.weights[numbers].mean())
            assert float(train.update(loss, batch=numbers)) == pytest.approx(float(loss) * weight)
            steps.append(numbers.tolist())

        for numbers, _ in loader:
            waiting.append(numbers)
            if len(waiting) > depth:
                step(waiting.popleft())
        served = len(steps)
        assert served == len(loader) - depth


def all_at_once(loader):
    return list(loader)


def by_fours(loader):
    """As gradient accumulation groups them: the last group may be smaller, and ends the epoch."""
    batches = iter(loader)
    while group := list(islice(batches, 4)):
        yield from group


@pytest.mark.parametrize("ahead", [held_back, all_at_once, by_fours])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_the_last_batches_of_an_epoch_may_be_said_too(ahead, is_recorded, tmp_path):
    """They are updated when the loader has come to its end already."""
    train = BLS(NoPrune(Numbers(50), 10), alpha=ALPHA).proxy()
    if is_recorded:
        train.record(tmp_path)
    loader, steps = DataLoader(train, batch_size=5), []
    for epoch in range(2):
        for batch in ahead(loader):
            loss = mean_loss(batch) / (epoch + 1)
            train.update(loss, batch=batch)
            steps.append((batch.tolist(), float(loss)))
            assert train.progress == pytest.approx(len(steps) / 10)
        assert train.epoch == epoch + 1
    assert len(steps) == 20
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 50))
    assert train.summary().visits_made == 100
    if is_recorded:
        assert [len(batches) for batches in read_recording(tmp_path)] == [10, 10]


def test_the_last_batches_may_be_said_by_indices(tmp_path):
    train = BLS(NoPrune(Numbers(60), 10), alpha=ALPHA).proxy()
    train.record(tmp_path)
    loader, steps = DataLoader(train, batch_size=5), []
    for epoch in range(2):
        for batch in copied_ahead(loader):
            loss = mean_loss(batch)
            train.update(loss, indices=batch)
            steps.append((batch.tolist(), float(loss)))
        assert train.epoch == epoch + 1
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))
    assert [len(batches) for batches in read_recording(tmp_path)] == [12, 12]


@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_batch_may_be_said_when_the_next_epoch_has_begun(is_recorded, tmp_path):
    def endless(loader):
        while True:
            yield from loader

    train = BLS(InfoBatch(Numbers(60), 10, prune_ratio=0.5), alpha=ALPHA).proxy()
    if is_recorded:
        train.record(tmp_path)
    loader, steps, visits = DataLoader(train, batch_size=5), [], []
    for batch in held_back(endless(loader)):
        loss = mean_loss(batch)
        train.update(loss, batch=batch)
        assert len(loader) > 0  # asks for the plan
        steps.append((batch.tolist(), float(loss)))
        visits.append(train.epochs.number)
        if len(steps) == 30:
            break
    assert visits[:13] == [0] * 12 + [1]
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))


def test_a_checkpoint_while_the_last_batches_wait():
    train = bls(NoPrune, 60)
    batches = list(DataLoader(train, batch_size=5))
    for batch in batches[:-2]:
        train.update(mean_loss(batch), batch=batch)
    resumed = bls(NoPrune, 60)
    resumed.load_state_dict(train.state_dict())
    left = [batch.tolist() for batch in DataLoader(resumed, batch_size=5)]
    assert left == [batch.tolist() for batch in batches[-2:]]


def test_what_is_no_batch_is_refused():
    train = bls(InfoBatch, 60)
    for batch in DataLoader(train, batch_size=5):
        with pytest.raises(RuntimeError, match="no batch of dynaprune.DataLoader which waits"):
            train.update(mean_loss(batch), batch=batch.clone())
        train.update(mean_loss(batch), batch=batch)
        with pytest.raises(RuntimeError, match="no batch of dynaprune.DataLoader which waits"):
            train.update(mean_loss(batch), batch=batch)


def test_the_batch_may_be_said_by_its_indices():
    train = BLS(NoPrune(Numbers(60), 10), alpha=ALPHA).proxy()
    steps = []
    for batch in copied_ahead(DataLoader(train, batch_size=5)):
        loss = mean_loss(batch)
        train.update(loss, indices=batch)
        steps.append((batch.tolist(), float(loss)))
        if len(steps) == 7:
            break
    assert train.scores.tolist() == pytest.approx(moving_average(steps, 60))


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
