"""Checkpoints between epochs: the resumed run is the uninterrupted one."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from every_method import EACH_KIND
from helpers import Numbers, bls, mean_loss, sample_losses
from stopped_runs import run

from dynaprune import (
    BLS,
    DataLoader,
    InfoBatch,
    NoPrune,
)


@pytest.mark.parametrize("stop", [0, 1, 4])
@pytest.mark.parametrize("method", EACH_KIND)
def test_resuming_between_epochs(method, stop, tmp_path):
    whole = bls(method, 60)
    expected = run(whole, 9)

    first = bls(method, 60)
    served = run(first, stop)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    served_after_saving = run(first, 9 - stop)
    assert served + served_after_saving == expected  # saving changes nothing

    second = bls(method, 60)
    run(second, 2)  # it may have done something else before
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.epoch == stop
    assert served + run(second, 9 - stop) == expected
    assert second.scores.equal(whole.scores)
    one, other = second.summary(), whole.summary()
    assert (one.epochs, one.visits_made, one.visits_avoided) == (
        other.epochs,
        other.visits_made,
        other.visits_avoided,
    )


def test_resuming_with_sample_losses():
    whole = InfoBatch(Numbers(60), 10)
    expected = run(whole, 6, sample_losses)
    first = InfoBatch(Numbers(60), 10)
    run(first, 3, sample_losses)
    second = InfoBatch(Numbers(60), 10)
    second.load_state_dict(first.state_dict())
    assert run(second, 3, sample_losses) == expected[3:]


def test_the_state_is_a_snapshot():
    train = bls(InfoBatch, 60)
    run(train, 2)
    state = train.state_dict()
    before = copy.deepcopy(state)
    run(train, 2)
    assert state["score"]["values"].equal(before["score"]["values"])
    other = bls(InfoBatch, 60)
    other.load_state_dict(state)
    run(other, 2)
    assert state["score"]["values"].equal(before["score"]["values"])


def test_the_state_may_be_taken_after_the_last_update():
    """Inside the loop, when all samples of the epoch were trained on."""
    whole = bls(InfoBatch, 60)
    expected = run(whole, 4)
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=7)
    state = None
    for step, batch in enumerate(loader, start=1):
        train.update(mean_loss(batch))
        if step == len(loader):
            state = train.state_dict()
    second = bls(InfoBatch, 60)
    second.load_state_dict(state)
    assert run(second, 3) == expected[1:]


def test_the_state_holds_tensors_and_plain_values_only():
    def check(value):
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            for inner in value.values():
                check(inner)
        else:
            assert type(value) in (int, float, str, bool, torch.Tensor)

    train = bls(InfoBatch, 60)
    run(train, 2)
    check(train.state_dict())


def test_losses_left_out_are_kept_in_the_state():
    train = bls(NoPrune, 14)
    run(train, 1, lambda batch: torch.tensor(float("nan")))
    other = bls(NoPrune, 14)
    other.load_state_dict(train.state_dict())
    assert other.summary().losses_left_out == 2


def test_epochs_beyond_num_epochs_train_on_everything():
    train = bls(InfoBatch, 60, num_epochs=3)
    assert [sum(map(len, served)) for served in run(train, 6)][2:] == [60] * 4


@pytest.mark.parametrize("how", [copy.deepcopy, lambda train: pickle.loads(pickle.dumps(train))])
def test_copies_go_on_alike(how):
    train = bls(InfoBatch, 60)
    run(train, 3)
    twin = how(train)
    assert run(twin, 3) == run(train, 3)
    assert twin.scores.equal(train.scores)


def test_objects_go_away_with_their_dataset():
    """No reference cycle: `del train` frees a dataset of many gigabytes at once."""
    import gc
    import weakref

    dataset = Numbers(60)
    gone = weakref.ref(dataset)
    train = BLS(InfoBatch(dataset, 10)).proxy()
    run(train, 2)
    gc.disable()
    try:
        del dataset, train
        assert gone() is None
    finally:
        gc.enable()
