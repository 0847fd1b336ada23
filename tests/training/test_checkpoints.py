"""Checkpoints in the middle of an epoch: the resumed run is the uninterrupted one, bit by bit."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from every_method import EACH_KIND
from helpers import (
    Numbers,
    bls,
    check_same_counts,
    mean_loss,
    sample_losses,
    train_epoch,
    train_in_pieces,
)
from stopped_runs import EPOCHS, Noisy, train_on

from dynaprune import (
    DataLoader,
    InfoBatch,
    NoPrune,
)
from dynaprune.training.checksum import sealed

LOADERS = [
    {},
    {"drop_last": True},
    {"num_workers": 2, "prefetch_factor": 4},
    {"num_workers": 1, "persistent_workers": True},
    {"batch_size": None},
]


@pytest.mark.parametrize("arguments", LOADERS)
@pytest.mark.parametrize("method", EACH_KIND)
def test_stopped_and_resumed_many_times(method, arguments, tmp_path):
    """Also several times in one epoch: a state is saved every few batches, and only it is kept."""
    whole = bls(method, 60)
    expected, end = train_on(whole, **arguments)
    served, train, state = train_in_pieces(lambda: bls(method, 60), train_on, tmp_path, **arguments)
    assert served == expected
    assert train.scores.equal(whole.scores)
    check_same_counts(train, whole)
    assert state["score"]["values"].equal(end["score"]["values"])


def test_with_sample_losses():
    whole = InfoBatch(Numbers(60), EPOCHS)
    expected, _ = train_on(whole, loss_of=sample_losses)
    first, second = InfoBatch(Numbers(60), EPOCHS), InfoBatch(Numbers(60), EPOCHS)
    served, state = train_on(first, stop_after=12, loss_of=sample_losses)
    second.load_state_dict(state)
    assert served + train_on(second, loss_of=sample_losses)[0] == expected
    assert second.scores.equal(whole.scores)


def test_a_state_before_the_update_has_its_batch_still_due():
    train = bls(NoPrune, 21)
    loader = DataLoader(train, batch_size=7)
    for step, batch in enumerate(loader):
        if step == 1:
            state, unseen = train.state_dict(), batch.tolist()
        train.update(mean_loss(batch))
    other = bls(NoPrune, 21)
    other.load_state_dict(state)
    assert next(iter(DataLoader(other, batch_size=7))).tolist() == unseen


def test_saving_and_loading_change_nothing():
    whole = bls(InfoBatch, 60)
    expected, _ = train_on(whole)
    train = bls(InfoBatch, 60)
    served = []
    for epoch in range(EPOCHS):
        for batch in DataLoader(train, batch_size=7):
            train.update(mean_loss(batch))
            before = copy.deepcopy(train.state_dict())
            served.append((epoch, batch.tolist()))
            other = bls(InfoBatch, 60)
            other.load_state_dict(before)
            again = other.state_dict()
            assert before.keys() == again.keys()
            for name in ("indices", "sizes", "losses", "steps"):
                assert before["progress"][name].equal(again["progress"][name])
            assert other.epoch == (
                train.epoch if train.epochs.position.samples_due() else train.epoch + 1
            )
            assert other.progress == pytest.approx(train.progress)
    assert served == expected


def test_looking_at_a_resumed_epoch_changes_nothing():
    train = bls(InfoBatch, 60)
    served, state = train_on(train, stop_after=3)
    expected = train_on(bls(InfoBatch, 60))[0]
    other = bls(InfoBatch, 60)
    other.load_state_dict(state)
    loader = DataLoader(other, batch_size=7)
    assert len(loader) == 6  # of 9
    for _ in range(3):
        assert next(iter(loader)).tolist() == expected[3][1]
    assert len(loader) == 6
    assert len(other.sampler) == 60 - 21
    assert served + train_on(other)[0] == expected


def test_loading_within_a_loop():
    train = bls(InfoBatch, 60)
    iterator = iter(DataLoader(train, batch_size=7))
    train.update(mean_loss(next(iterator)))
    state = train.state_dict()
    train.update(mean_loss(next(iterator)))
    train.load_state_dict(state)
    batch = next(iterator)
    with pytest.raises(
        RuntimeError, match=r"before load_state_dict\(\) was called: leave that loop"
    ):
        train.update(mean_loss(batch))
    assert len(train.sampler) == 53


def test_ending_a_resumed_epoch():
    train = bls(InfoBatch, 60)
    _, state = train_on(train, stop_after=3)
    other = bls(InfoBatch, 60)
    other.load_state_dict(state)
    other.end_epoch()
    assert (other.epoch, other.summary().visits_made) == (1, 21)
    other.end_epoch()
    assert other.epoch == 1


def test_a_resumed_epoch_may_be_too_short_for_a_batch(caplog):
    """Another batch size now: what was due makes no batch, and the epoch is over."""
    train = bls(NoPrune, 21)
    _, state = train_on(train, stop_after=2)
    other = bls(NoPrune, 21)
    other.load_state_dict(state)
    loader = DataLoader(other, batch_size=8, drop_last=True)
    assert list(loader) == []
    assert other.epoch == 1
    assert len(list(loader)) == 2
    assert "makes no batch" not in caplog.text


def test_another_batch_size_after_resuming():
    train = bls(InfoBatch, 60)
    served, state = train_on(train, stop_after=3)
    other = bls(InfoBatch, 60)
    other.load_state_dict(state)
    rest = train_on(other, 1, batch_size=4)[0]
    assert sorted(i for _, batch in served + rest for i in batch) == list(range(60))


def test_random_numbers_of_the_loop_go_on():
    """The model's dropout and, without workers, augmentation: with torch's state restored."""

    def run(train, stop_after=None):
        loader = DataLoader(train, batch_size=7)
        numbers = []
        for _ in range(train.epoch, 3):
            for batch in loader:
                train.update(mean_loss(batch[:, 0]) + torch.rand(()))  # as by dropout
                numbers.append((batch.tolist(), float(torch.rand(()))))
                if len(numbers) == stop_after:
                    return numbers, (train.state_dict(), torch.get_rng_state())
        return numbers, None

    def make():
        return type(bls(InfoBatch, 60))(Noisy(60), 10)

    from dynaprune import BLS

    torch.manual_seed(0)
    expected, _ = run(BLS(make()).proxy())
    torch.manual_seed(0)
    served, (state, random_state) = run(BLS(make()).proxy(), stop_after=5)
    torch.manual_seed(123)
    train = BLS(make()).proxy()
    train.load_state_dict(state)
    torch.set_rng_state(random_state)
    assert served + run(train)[0] == expected


@pytest.mark.parametrize("generator", [None, 5])
def test_workers_of_a_resumed_epoch_have_seeds_of_their_own(generator):
    def noise(train, given):
        made = None if given is None else torch.Generator().manual_seed(given)
        torch.manual_seed(0)
        loader = DataLoader(train, batch_size=7, num_workers=1, generator=made)
        return next(iter(loader))[0, 1].item(), loader

    fresh, _ = noise(InfoBatch(Noisy(60), 10), generator)
    train = bls(InfoBatch, 60)
    _, state = train_on(train, stop_after=3)
    from dynaprune import BLS

    state["dataset"] = "Noisy"
    other = BLS(InfoBatch(Noisy(60), 10)).proxy()
    other.load_state_dict(sealed(state))
    resumed, loader = noise(other, generator)
    assert resumed != fresh
    if generator is None:
        torch.manual_seed(0)
        untouched = torch.get_rng_state()
        next(iter(loader))
        assert torch.get_rng_state().equal(untouched)


# Damaged states


def damaged(change):
    state = copy.deepcopy(train_on(bls(InfoBatch, 60), stop_after=12)[1])
    change(state)
    return sealed(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("progress"), "the state is incomplete, it has no progress"),
        (lambda s: s["progress"].pop("losses"), "the state's progress is incomplete, it has no lo"),
        (
            lambda s: s["progress"].update(losses=s["progress"]["losses"][:-1]),
            "damaged: its sizes, losses and steps are not of one length",
        ),
        (
            lambda s: s["progress"].update(indices=s["progress"]["indices"][:-1]),
            "damaged: its sizes do not sum to the number of its samples",
        ),
        (
            lambda s: s["progress"].update(losses=s["progress"]["losses"].double()),
            "damaged: its losses are no torch.float32 of one dimension",
        ),
        (lambda s: s["progress"]["indices"].add_(60), "must be sample numbers from 0 to 59"),
        (lambda s: s["score"].update(values=torch.zeros(61)), "holds scores of 61 samples"),
        (
            lambda s: s["score"]["values"].mul_(-1),
            "epoch 1, for which the arguments",
        ),
    ],
)
def test_a_damaged_state_leaves_the_object_as_it_was(change, message):
    train, twin = bls(InfoBatch, 60), bls(InfoBatch, 60)
    for each in (train, twin):
        train_on(each, stop_after=5)
    state = copy.deepcopy(train.state_dict())
    with pytest.raises(RuntimeError, match=re.escape(message)):
        train.load_state_dict(damaged(change))
    after = train.state_dict()
    assert after["epoch"] == state["epoch"]
    assert after["score"]["values"].equal(state["score"]["values"])
    assert after["progress"]["indices"].equal(state["progress"]["indices"])
    assert train_on(train)[0] == train_on(twin)[0]


def test_other_arguments_in_the_middle_of_an_epoch():
    _, state = train_on(bls(InfoBatch, 60), stop_after=12)
    other = bls(InfoBatch, 60, prune_ratio=0.9)
    with pytest.raises(RuntimeError, match="epoch 1, for which the arguments of this"):
        other.load_state_dict(state)
    assert other.epoch == 0


def test_states_of_an_epoch_left_early_are_of_the_next():
    train = bls(InfoBatch, 60)
    train_epoch(DataLoader(train, batch_size=7), mean_loss, stop_after=3)
    assert train.epoch == 1
    other = bls(InfoBatch, 60)
    other.load_state_dict(train.state_dict())
    assert (other.epoch, other.progress) == (1, 1.0)
    assert other.scores.equal(train.scores)
