"""What was guessed, swallowed or logged wrong: an error, a warning, or the right number."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers import Numbers, bls, mean_loss, sample_losses, train_epoch
from streams import Stored, bls_stream, stream_of

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, RandomPrune, Sharded

# Attributes that are set on what is around the dataset


class Mosaic(Numbers):
    def __init__(self, length):
        super().__init__(length)
        self.mosaic = self._mixes = True


@pytest.mark.parametrize("kind", ["plain", "sharded", "with indices"])
def test_an_attribute_that_is_the_datasets_is_set_there(kind):
    dataset = Mosaic(20)
    inner = Sharded(dataset, rank=0, world_size=2) if kind == "sharded" else dataset
    train = bls(lambda _, **more: InfoBatch(inner, **more), 20)
    loader = (
        torch.utils.data.DataLoader(train.with_indices(), sampler=train.sampler)
        if kind == "with indices"
        else DataLoader(train)
    )
    loader.dataset.mosaic = loader.dataset._mixes = False
    assert (dataset.mosaic, dataset._mixes) == (False, False)
    loader.dataset._mark = 1  # as frameworks leave in objects; the dataset has none
    assert not hasattr(dataset, "_mark")


def test_an_attribute_of_a_stream():
    stored = Stored(20)
    stored.mosaic = True
    train = BLS(InfoBatch(stream_of(stored), 3)).proxy()
    train.mosaic = False
    assert stored.mosaic is False


def test_an_attribute_that_nobody_has_is_refused():
    train = bls(InfoBatch, 20)
    with pytest.raises(AttributeError, match=r"'mosaic' was set on a InfoBatch, but neither it"):
        train.mosaic = False
    with pytest.raises(AttributeError, match=r"set it on .dataset"):
        train.with_indices().mosaic = False


class Own(RandomPrune):
    kept_for_later = None

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.calls = 0

    def select(self, scores, epoch, generator):
        self.calls += 1
        self.kept_for_later = epoch
        self._private = epoch
        return super().select(scores, epoch, generator)


def test_a_class_of_ones_own_has_attributes_of_its_own():
    train = bls(Own, 20)
    train.dataset._private = "the dataset's"
    train_epoch(DataLoader(train, batch_size=5), mean_loss)
    assert (train._private, train.dataset._private) == (0, "the dataset's")
    train.saving = 0.25
    copied = copy.deepcopy(train)
    copied.calls = 7
    assert (train.calls, copied.calls, train.kept_for_later) == (1, 7, 0)


# update() that was forgotten


def test_a_forgotten_update_is_told_at_the_second_pass(caplog):
    train = BLS(InfoBatch(Numbers(40), 10, saving=0.3)).proxy()
    loader = DataLoader(train, batch_size=4)
    for passes in range(4):
        assert sum(len(batch) for batch in loader) == 28
        said = [each for each in caplog.messages if "without an update" in each]
        assert len(said) == (passes > 0)
    assert "the same 28 of 40 samples come again" in said[0]


def test_a_forgotten_update_with_another_loader(caplog):
    train = BLS(InfoBatch(Numbers(40), 10, saving=0.3)).proxy()
    loader = torch.utils.data.DataLoader(train.with_indices(), 4, sampler=train.sampler)
    for _ in range(3):
        list(loader)
    assert sum("without an update" in each for each in caplog.messages) == 1


def test_looks_and_evaluations_are_not_taken_for_it(caplog):
    train = bls(InfoBatch, 12)
    loader = DataLoader(train, batch_size=4, num_workers=1)
    for _ in range(3):
        next(iter(loader))
        with torch.no_grad():
            list(loader)
        train_epoch(loader, mean_loss)
        list(loader)
    assert not caplog.messages


# Samples that collate_fn has dropped


def dropping(samples):
    return torch.stack([each for each in samples if each % 8 != 3])


@pytest.mark.parametrize("scored", [True, False])
def test_losses_of_a_batch_that_has_lost_samples(scored):
    train = InfoBatch(Numbers(40), 3)
    train = BLS(train).proxy() if scored else train
    loader = DataLoader(train, batch_size=8, collate_fn=dropping)
    told = 0
    for batch in loader:
        if len(batch) in (4, 8):  # of 8 samples, 4 could be means of pairs; all 8 are there
            continue
        with pytest.raises(RuntimeError, match=r"samples are missing.*update\(loss, indices="):
            train.update(sample_losses(batch))
        told += 1
    assert told > 0


def test_losses_that_could_be_means_of_slices_but_are_not():
    """Four of eight samples are left: the numbers would allow for means of pairs."""

    class Tuples(Numbers):
        def __getitem__(self, index):
            return torch.tensor([float(index)]), index

    def half(samples):
        return [torch.stack([numbers for numbers, _ in samples[: len(samples) // 2]])]

    train = InfoBatch(Tuples(16), 3)
    for (batch,) in DataLoader(train, batch_size=8, collate_fn=half):
        with pytest.raises(RuntimeError, match=r"fetched 8 samples and yielded 4"):
            train.update(batch.flatten())


def test_slices_of_whole_batches_are_as_they_were():
    train = bls(InfoBatch, 16)
    for batch in DataLoader(train, batch_size=8):
        train.update(torch.stack([mean_loss(part) for part in batch.chunk(4)]))
    assert train.epoch == 1


# Copies


def test_a_copy_says_that_it_records_nothing(tmp_path, caplog):
    train = bls(NoPrune, 8)
    copy.deepcopy(train)
    assert not caplog.messages
    train.record(tmp_path)
    copied = copy.deepcopy(train)
    assert "a copy of a pruned dataset records and logs nothing" in caplog.text
    train_epoch(DataLoader(copied, batch_size=4), mean_loss)
    assert not list(tmp_path.glob("epoch-*"))


# What people log


@pytest.mark.parametrize("stream", [False, True])
def test_the_mean_loss_of_an_epoch_is_that_before_weights(stream):
    train = bls_stream(InfoBatch, 60) if stream else bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=7)
    assert math.isnan(train.mean_loss)
    before = math.nan
    for _ in range(4):
        total = visits = 0.0
        for batch in loader:
            loss = mean_loss(batch)
            train.update(loss)
            total, visits = total + float(loss) * len(batch), visits + len(batch)
            if visits < 40:
                assert train.mean_loss == pytest.approx(before, nan_ok=True)
        before = total / visits
        assert train.mean_loss == pytest.approx(before)
    other = bls_stream(InfoBatch, 60) if stream else bls(InfoBatch, 60)
    other.load_state_dict(train.state_dict())
    assert other.mean_loss == pytest.approx(before)


def test_the_mean_loss_leaves_out_what_is_not_finite():
    train = bls(NoPrune, 20)
    for number, _ in enumerate(DataLoader(train, batch_size=5)):
        train.update(torch.tensor(math.nan if number == 1 else float(number)))
    assert train.mean_loss == pytest.approx((0 + 2 + 3) / 3)


def one_epoch(loader, train):
    planned = len(loader)
    running = count = 0.0
    for batch in loader:
        assert len(loader) == planned
        loss = mean_loss(batch)
        train.update(loss)
        running, count = running + float(loss), count + 1
    assert planned == count
    return running / len(loader), running / count


class Bar:
    """What tqdm does: asks for the length when it is made, then yields."""

    def __init__(self, iterable):
        self.iterable, self.total, self.n = iterable, len(iterable), 0

    def __iter__(self):
        for each in self.iterable:
            yield each
            self.n += 1


def test_the_length_behind_a_loop_is_that_of_its_epoch():
    """`running_loss / len(loader)` and `tqdm(loader)`, in a loop or a function of their own."""
    train = BLS(RandomPrune(Numbers(100), 6, saving=0.37)).proxy()
    loader = DataLoader(train, batch_size=8)
    for epoch in range(6):
        if epoch % 2:
            found, expected = one_epoch(loader, train)
            assert found == pytest.approx(expected)
            continue
        running, bar = 0.0, Bar(loader)
        for batch in bar:
            loss = mean_loss(batch)
            train.update(loss)
            running += float(loss)
        assert bar.n == bar.total == len(loader)


def test_the_length_by_the_mean_of_epochs_that_differ():
    train = bls(InfoBatch, 100, num_epochs=8)
    loader = DataLoader(train, batch_size=8)
    lengths = set()
    for _ in range(8):
        found, expected = one_epoch(loader, train)
        lengths.add(len(loader))
        assert found == pytest.approx(expected)
    assert len(lengths) > 1


def test_a_loop_by_hand_plans_the_coming_epoch():
    train = bls(InfoBatch, 100, num_epochs=8)
    loader = DataLoader(train, batch_size=8)
    for _ in range(5):
        batches = iter(loader)
        for _ in range(len(loader)):
            train.update(mean_loss(next(batches)))
        with pytest.raises(StopIteration):
            next(batches)


def test_training_on_after_the_last_epoch_is_told_once(caplog):
    train = bls(InfoBatch, 20, num_epochs=2)
    loader = DataLoader(train, batch_size=5)
    for epoch in range(5):
        train_epoch(loader, mean_loss)
        len(loader)
        said = [each for each in caplog.messages if "made with num_epochs=2" in each]
        assert len(said) == (epoch >= 2)


# Workers that live on


@pytest.mark.parametrize("arguments", [{}, {"persistent_workers": True}])
def test_random_numbers_of_the_loop_go_on_after_a_checkpoint_between_epochs(arguments):
    def drawn(train, loader, epochs):
        found = []
        for _ in range(epochs):
            for batch in loader:
                train.update(mean_loss(batch))
                found.append(float(torch.rand(())))
        return found

    def made():
        train = bls(InfoBatch, 40)
        return train, DataLoader(train, batch_size=8, num_workers=1, **arguments)

    torch.manual_seed(3)
    train, loader = made()
    whole = drawn(train, loader, 3)
    torch.manual_seed(3)
    train, loader = made()
    first = drawn(train, loader, 1)
    state, random_state = train.state_dict(), torch.get_rng_state()
    torch.manual_seed(99)
    train, loader = made()
    train.load_state_dict(state)
    torch.set_rng_state(random_state)
    assert first + drawn(train, loader, 2) == whole
