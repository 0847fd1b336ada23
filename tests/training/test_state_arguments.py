"""States of a run with other arguments: what is warned of."""

from __future__ import annotations

import enum

import numpy as np
import pytest
import torch
from helpers import Numbers, bls
from stopped_runs import run

from dynaprune import (
    BLS,
    InfoBatch,
    NoPrune,
)
from dynaprune.training.checksum import sealed

# Other arguments than those of the run that was saved


def warnings_of(caplog, load):
    caplog.clear()
    load()
    return [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]


def test_other_arguments_are_warned_of_once(caplog):
    train = BLS(InfoBatch(Numbers(60), 10, prune_ratio=0.4), alpha=0.6).proxy()
    run(train, 2)
    state = train.state_dict()
    same = BLS(InfoBatch(Numbers(60), 10, prune_ratio=0.4), alpha=0.6).proxy()
    assert warnings_of(caplog, lambda: same.load_state_dict(state)) == []
    other = BLS(InfoBatch(Numbers(60), 20, delta=0.5, prune_ratio=0.3)).proxy()
    (said,) = warnings_of(caplog, lambda: other.load_state_dict(state))
    assert said == (
        "the state was taken with other arguments: delta was 0.875 and is 0.5 here; num_epochs "
        "was 10 and is 20 here; prune_ratio was 0.4 and is 0.3 here; alpha was 0.6 and is 0.7 "
        "here. The run goes on with those here"
    )
    assert (other.epoch, other.num_epochs) == (2, 20)


@pytest.mark.parametrize(
    ("saved", "here", "said"),
    [
        ({}, {"saving": 0.3}, "saving was not set and is 0.3 here"),
        ({"saving": 0.3}, {"saving": 0.4}, "saving was 0.3 and is 0.4 here"),
        ({"batch_size": 6}, {}, "batch_size was 6 and is not set here"),
        ({}, {"weighting": "equal"}, "weighting was 'unbiased' and is 'equal' here"),
        ({"batch_size": 6}, {"batch_size": 7}, "batch_size was 6 and is 7 here"),
    ],
)
def test_each_other_argument_is_named(saved, here, said, caplog):
    state = bls(InfoBatch, 60, **saved).state_dict()
    train = bls(InfoBatch, 60, **here)
    (warning,) = warnings_of(caplog, lambda: train.load_state_dict(state))
    assert f"{said}" in warning


def test_attributes_that_are_no_arguments_are_not_warned_of(caplog):
    class Counting(NoPrune):
        def select(self, scores, epoch, generator):
            self.calls = vars(self).get("calls", 0) + 1
            return super().select(scores, epoch, generator)

    train = BLS(Counting(Numbers(60), 10)).proxy()
    run(train, 2)
    assert train.calls >= 2
    other = BLS(Counting(Numbers(60), 10)).proxy()
    assert warnings_of(caplog, lambda: other.load_state_dict(train.state_dict())) == []


def test_arguments_of_classes_of_their_own_can_be_loaded(tmp_path, caplog):
    """A state holds plain values only, whatever a method of the user's own keeps."""

    class Kind(str, enum.Enum):
        EASY = "easy"

    class Own(NoPrune):
        def __init__(self, dataset, num_epochs, share, kind, place):
            super().__init__(dataset, num_epochs)
            self.share, self.kind, self.place = share, kind, place

    class Place(enum.IntEnum):
        FIRST = 1

    train = BLS(Own(Numbers(60), 10, np.float64(0.5), Kind.EASY, Place.FIRST)).proxy()
    torch.save(train.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    expected = {"num_epochs": 10, "share": 0.5, "kind": "easy", "place": 1}
    assert state["settings"]["method"] == expected
    assert warnings_of(caplog, lambda: train.load_state_dict(state)) == []


def test_a_state_that_is_refused_is_not_warned_of(caplog):
    state = bls(InfoBatch, 60, prune_ratio=0.4).state_dict()
    state["epoch"] = -1

    def load():
        with pytest.raises(RuntimeError, match="its epoch must be an integer of at least 0"):
            bls(InfoBatch, 60).load_state_dict(sealed(state))

    assert warnings_of(caplog, load) == []
