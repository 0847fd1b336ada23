"""What `dynaprune inspect` finds in files, also in those that were made to do harm."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from helpers import bls, mean_loss, train_epoch

from dynaprune import DataLoader, InfoBatch, KalmanBLS, NoPrune, load_checkpoint, save_checkpoint
from dynaprune.cli.inspect import others_table, rows_of, states_in
from dynaprune.tracking.review.sources import ledger_of_state
from dynaprune.training.checksum import sealed


@pytest.fixture
def state():
    train = bls(InfoBatch, 60)
    for _ in range(2):
        train_epoch(DataLoader(train, batch_size=7), mean_loss)
    return train.state_dict()


def names_in(states):
    return [name for name, _ in states_in(states)]


def test_containers_in_themselves_are_looked_into_once(state, tmp_path):
    circle: list = [state]
    circle += [circle, {"again": circle, "other": copy.deepcopy(state)}]
    torch.save({"circle": circle}, tmp_path / "circle.pt")
    assert names_in(load_checkpoint(tmp_path / "circle.pt")) == ["circle.0", "circle.2.other"]
    # also in the state itself
    state["more"] = [state]
    assert names_in([state]) == ["0"]
    assert ("damaged", "it does not match its checksum and cannot be loaded") in list(
        rows_of({**state, "more": 1})
    )


def test_many_places_of_few_containers(state):
    many: list = [torch.zeros(2**18)]
    for _ in range(50):
        many = [many, many]  # 2⁵⁰ places
    assert names_in({"many": many, "train": state}) == ["train"]
    (table,) = [others_table({"many": many, "train": state})]
    assert [list(column.cells) for column in table.columns] == [["many"], ["1"], ["1.0"]]


def test_containers_that_are_too_deep(state):
    deep = {"train": state}
    for _ in range(60):
        deep = {"in": deep}
    assert names_in(deep) == [".".join(["in"] * 60 + ["train"])]
    for _ in range(10**5):
        deep = {"in": deep}
    with pytest.raises(RuntimeError, match="holds containers nested deeper than 64"):
        names_in(deep)
    with pytest.raises(RuntimeError, match="holds containers nested deeper than 64"):
        others_table({"deep": deep})
    while deep:  # or they are freed by recursion
        deep = deep.pop("in", None)


@pytest.mark.parametrize(
    "huge", [torch.zeros(1).expand(10**12), torch.empty(10**12, device="meta")]
)
def test_tensors_that_claim_to_be_huge(huge, state, tmp_path):
    """A file of a few hundred bytes holds one of 10¹² elements."""
    if huge.device.type != "meta":
        save_checkpoint(tmp_path / "huge.pt", model={"weight": huge})
        assert (tmp_path / "huge.pt").stat().st_size < 5000
        huge = load_checkpoint(tmp_path / "huge.pt")["model"]["weight"]
    table = others_table({"model": {"weight": huge}})
    assert [list(column.cells) for column in table.columns] == [["model"], ["0"], ["0.0"]]
    state["score"]["values"] = huge
    with pytest.raises(RuntimeError, match=r"its values must be a tensor .* not in memory"):
        list(rows_of(state))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("score", None),
        ("score", {"name": "BLS"}),
        ("score.values", [1.0]),
        ("score.values", torch.zeros(60, dtype=torch.float16)),
        ("score.history", 3),
        ("score.history", {"visits": torch.zeros(3)}),
        ("totals", [1]),
        ("totals.visits_made", 10**400),
        ("totals.seconds", float("nan")),
        ("progress", 0),
        ("progress.visits", "many"),
        ("epoch", torch.zeros(3)),
    ],
)
def test_a_state_that_makes_no_sense(path, value, state):
    *parts, last = path.split(".")
    place = state
    for part in parts:
        place = place[part]
    place[last] = value
    with pytest.raises(RuntimeError, match="the state"):
        list(rows_of(state))


def test_whether_a_state_is_as_it_was(state):
    assert "damaged" not in dict(rows_of(state))
    state["score"]["values"][3] += 1
    assert dict(rows_of(state))["damaged"] == "it does not match its checksum and cannot be loaded"
    assert "damaged" not in dict(rows_of(sealed(state)))
    del state["checksum"]  # as in the states of earlier versions
    assert "damaged" not in dict(rows_of(state))


@pytest.mark.parametrize("loss_of", [lambda batch: batch.float() + 1, lambda batch: -batch.float()])
def test_scores_are_in_the_unit_that_the_run_shows(loss_of):
    """`KalmanBLS` saves its estimates without the unit of the loss."""
    train = KalmanBLS(NoPrune(range(60), num_epochs=3)).proxy()
    train.track_samples()
    train_epoch(DataLoader(train, batch_size=6), lambda batch: loss_of(batch).mean())
    quantiles = np.quantile(train.scores.numpy(), [0, 0.1, 0.5, 0.9, 1])
    state = train.state_dict()
    shown = dict(rows_of(state))["scores: lowest, 10%, median, 90%, highest"]
    assert [float(each) for each in shown.split(", ")] == pytest.approx(quantiles, rel=1e-3)
    assert np.array_equal(ledger_of_state(state).scores, train.scores.numpy())


@pytest.mark.parametrize(
    ("loss_of", "expected"),
    [(torch.Tensor.float, "per sample"), (mean_loss, "one per 10.0 samples on average")],
)
def test_what_losses_the_scores_are_from(loss_of, expected):
    train = NoPrune(range(60), num_epochs=3)
    assert "losses" not in dict(rows_of(train.state_dict()))
    train_epoch(DataLoader(train, batch_size=10), loss_of)
    rows = dict(rows_of(train.state_dict()))
    assert (rows["score"], rows["losses"]) == ("BLS", expected)


def test_names_and_numbers_of_any_kind_are_shown(state):
    state |= {"method": torch.zeros(3), "seed": 10**5000, "version": None, "dataset": [1]}
    rows = dict(rows_of(sealed(state)))
    assert rows["method"] == "a Tensor, seed an integer of more than 64 bits"
    assert rows["dataset"] == "a list, 60 samples"
    assert rows["size"].endswith("format a NoneType")
