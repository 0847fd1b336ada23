"""States that were damaged: whatever was changed, it is found."""

from __future__ import annotations

import copy
import pickle
import struct
import zlib
from collections import OrderedDict

import pytest
import torch
from helpers import Numbers, bls, mean_loss, sample_losses

from dynaprune import (
    BLS,
    DataLoader,
    InfoBatch,
    KalmanBLS,
    PrunedIterableDataset,
    SeTa,
    Sharded,
    TrimmedLoss,
)
from dynaprune.methods import UCB, RePB
from dynaprune.training.checksum import sealed


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (-1, "reads format {known}, which is newer: finish the run with the version of dynaprune"),
        (1, "reads format {known}, which is older: update dynaprune, or begin the run anew"),
    ],
)
def test_states_of_other_formats(step, message):
    """They may have other entries, or none of those of today."""
    known = bls(InfoBatch, 60).state_dict()["version"]
    train = bls(InfoBatch, 60)
    with pytest.raises(RuntimeError, match=message.format(known=known)) as caught:
        train.load_state_dict({"version": known + step, "method": "InfoBatch"})
    assert f"the state is of format {known + step}, but this" in str(caught.value)


# What is not as it was


def leaves_of(value, path=()):
    """Return the paths to all entries of a state, of dictionaries too."""
    for key, each in value.items():
        yield (*path, key)
        if isinstance(each, dict):
            yield from leaves_of(each, (*path, key))


def at(state, path):
    for key in path:
        state = state[key]
    return state


def changed(state, path, value):
    """Return a copy of a state with another value in a place, or without the place for `GONE`."""
    state = copy.deepcopy(state)
    *before, last = path
    if value is GONE:
        del at(state, before)[last]
    else:
        at(state, before)[last] = value
    return state


GONE = object()


def facts_of(train):
    return facts_in(train.state_dict())


def facts_in(state):
    """Return a checksum of what a state says, but of how long it took."""
    state = copy.deepcopy(dict(state))
    for part, name in (("totals", "seconds"), ("totals", "planning_seconds")):
        state[part][name] = 0.0
    state["progress"]["seconds"] = 0.0
    return sealed(state)["checksum"]


def of_stream():
    samples = [(f"key {number}", number) for number in range(60)]
    return InfoBatch(PrunedIterableDataset(samples, key=0, decode=lambda each: each[1]), 10)


MAKERS = {
    "BLS": lambda: bls(InfoBatch, 60),
    "BLS, SeTa": lambda: bls(SeTa, 60),
    "KalmanBLS": lambda: KalmanBLS(UCB(Numbers(60), 10)).proxy(),
    "SampleLoss": lambda: InfoBatch(Numbers(60), 10),
    "trends": lambda: bls(TrimmedLoss, 60, start=0.1),
    "history": lambda: bls(UCB, 60),
    "last steps": lambda: bls(RePB, 60),
    "keys": lambda: BLS(of_stream()).proxy(),
    "parts": lambda: BLS(InfoBatch(Sharded(Numbers(120), rank=1, world_size=2), 10)).proxy(),
}


def trained(kind, steps):
    """Return a run in the midst of an epoch, or between two, and its state."""
    train = MAKERS[kind]()
    loss_of = sample_losses if kind == "SampleLoss" else mean_loss
    while True:
        for batch in DataLoader(train, batch_size=6):
            train.update(loss_of(batch))
            steps -= 1
            if steps == 0:
                return train, train.state_dict()


def other_than(value):
    """Return values of about the same kind as that of an entry, but others."""
    if isinstance(value, torch.Tensor):
        if value.numel() == 0:
            return [torch.ones(1, dtype=value.dtype), value.to(torch.complex64)]
        first, last = value.clone(), value.clone()
        first.view(-1).view(torch.uint8)[0] ^= 1
        last.view(-1).view(torch.uint8)[-1] ^= 64
        return [first, last, value[:-1], value.to(torch.complex64)]
    if isinstance(value, dict):
        return [{}, {**value, "more": 1}] if value else [{"more": 1}]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, float):
        return [value + 1, -value - 1, torch.tensor(value)]
    return [value * 2 + 1] if isinstance(value, int) else [f"{value}."]


@pytest.mark.parametrize("steps", [12, 10, 3])
@pytest.mark.parametrize("kind", MAKERS)
def test_whatever_is_changed_is_found(kind, steps):
    _, state = trained(kind, steps)
    train = MAKERS[kind]()
    before = facts_of(train)
    for path in leaves_of(state):
        for other in [*other_than(at(state, path)), None, GONE]:
            with pytest.raises(RuntimeError, match="the state"):
                train.load_state_dict(changed(state, path, other))
    with pytest.raises(RuntimeError, match="does not match its checksum"):
        train.load_state_dict({**state, "more": 1})
    assert facts_of(train) == before
    train.load_state_dict(state)
    assert facts_of(train) != before


def cyclic():
    value = []
    value += [value, value]
    return value


SPOILED = [
    None, "text", 10**400, 10**5000, -1, float("nan"), float("-inf"), 1j, b"1", [1, 2], {"a": {}},
    object(), torch.empty(60, device="meta"), torch.eye(60).to_sparse(), torch.empty(0),
    torch.tensor(1), torch.zeros(2, 3), torch.zeros(1).expand(10**13),
    torch.zeros(1, dtype=torch.int64).expand(10**13),
]  # fmt: skip


def is_possible(path, value, state):
    """Whether an entry may have this value: losses, and so scores, may be below 0."""
    if path[-1] == "first_loss":
        return isinstance(value, int) and value == -1
    found = at(state, path)  # nothing, where there is nothing yet
    are_tensors = torch.is_tensor(value) and torch.is_tensor(found)
    return are_tensors and value.numel() == found.numel() == 0 and value.dtype == found.dtype


@pytest.mark.parametrize("steps", [10, 13])
@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_damaged_with_a_right_checksum(kind, steps):
    """The checks behind the checksum: it is refused, and nothing changes."""
    _, state = trained(kind, steps)
    train, _ = trained(kind, 2)
    before = facts_of(train)
    for path in leaves_of(state):
        if path[0] in ("settings", "checksum"):
            continue
        for value in [*SPOILED, GONE]:
            if is_possible(path, value, state):
                continue
            with pytest.raises(RuntimeError, match="the state|but here it is"):
                train.load_state_dict(sealed(changed(state, path, value)))
    assert facts_of(train) == before


@pytest.mark.parametrize("value", [None, [], torch.zeros(2), {"method": {}}])
def test_damaged_settings(value):
    _, state = trained("BLS", 3)
    for path in (("settings",), ("settings", "score"), ("settings", "score", "alpha")):
        with pytest.raises(RuntimeError, match="the state"):
            MAKERS["BLS"]().load_state_dict(sealed(changed(state, path, value)))


@pytest.mark.parametrize(
    ("kind", "path", "change", "message"),
    [
        ("BLS", "epoch", lambda _: 0, "it is of epoch 0, before which it says that 1 epochs were"),
        ("BLS", "totals.visits_made", lambda _: -1, "its visits_made must be an integer of at"),
        ("BLS", "totals.seconds", lambda _: -1.0, "its seconds must be a finite number of at"),
        ("BLS", "progress.visits", lambda n: n + 1, "it counts 13 visits in its epoch, but holds"),
        ("BLS", "progress.steps", lambda v: v.flip(0), "its steps are below 0, or fall"),
        ("BLS", "progress.steps", lambda v: v - 1, "its steps are below 0, or fall"),
        ("BLS", "progress.sizes", lambda v: v + torch.tensor([9, -9]), "are not all above 0"),
        ("BLS", "progress.sizes", lambda v: v + 2**63 - 20, "do not sum to the number of its"),
        ("BLS", "progress.indices", lambda v: v + 60, "must be sample numbers from 0 to 59"),
        ("BLS", "progress.indices", lambda v: v - 60, "must be sample numbers from 0 to 59"),
        ("BLS", "score.progress", lambda v: v - 999, "its progress cannot be"),
        ("trends", "score.mean_excess.errors", lambda v: v - 1, "mean_excess must be finite"),
        ("trends", "score.mean_excess.values", lambda v: v[1:], "mean_excess's values"),
        ("trends", "score.trends.sums", lambda v: v - 1, "sums of its trends must be finite"),
        ("BLS", "score.reliability", lambda v: v - 999, "its reliability cannot be"),
        ("KalmanBLS", "score.variances", lambda v: -v, "its variances are not all finite and at"),
        ("KalmanBLS", "score.unit", lambda v: v + 0.5, "its unit cannot be"),
        ("history", "score.history.visits", lambda v: v - 99, "visits must be at least 0, but -9"),
        ("last steps", "score.history.last_steps", lambda v: v - 99, "must be at least -1, but -"),
        ("last steps", "score.history.last_steps", lambda v: v + 99, "are later"),
        ("keys", "score.keys", lambda v: v.flip(0), "its keys do not ascend, or some occur tw"),
        ("keys", "score.keys", lambda v: v[:1].repeat(60), "its keys do not ascend, or some occur"),
        ("keys", "score.keys", lambda v: v[1:], "holds scores of 60 samples, but this BLS has 59"),
    ],
)
def test_numbers_that_do_not_fit_together(kind, path, change, message):
    _, state = trained(kind, 12)
    train, _ = trained(kind, 2)
    before = facts_of(train)
    place = path.split(".")
    state = changed(state, place, change(at(state, place)))
    with pytest.raises(RuntimeError, match=message):
        train.load_state_dict(sealed(state))
    assert facts_of(train) == before


def test_an_error_in_a_score_of_the_users_own_is_told_as_one_of_the_state():
    class Own(BLS):
        def load_state_dict(self, state):
            super().load_state_dict(state)
            self.more = state["more"]

    train = Own(InfoBatch(Numbers(60), 10)).proxy()
    with pytest.raises(
        RuntimeError, match=r"score cannot be loaded into this Own: KeyError\('more'"
    ):
        train.load_state_dict(train.state_dict())


def test_an_error_of_the_method_is_told_as_one_of_the_state():
    _, state = trained("history", 13)  # of 5 batches an epoch
    train = MAKERS["history"]()
    state["score"]["values"].fill_(float("nan"))
    with pytest.raises(RuntimeError, match="middle of epoch 2, but this UCB cannot plan it"):
        train.load_state_dict(sealed(state))
    assert train.epoch == 0


# The checksum


def test_the_checksum_is_of_what_a_state_says():
    """By hand: of the parts of a container, one after the other, 4 bytes each."""
    tensor = zlib.crc32(b"tensor torch.int16 (2,):" + bytes([1, 0, 2, 0]))
    parts = [zlib.crc32(b"str 1:a"), tensor, zlib.crc32(b"str 1:b"), zlib.crc32(b"int 3:0x7")]
    expected = zlib.crc32(b"mapping 4:" + struct.pack("<4I", *parts))
    state = {"b": 7, "a": torch.tensor([1, 2], dtype=torch.int16)}
    assert sealed(state) == state | {"checksum": expected}


def strided(value):
    """Return a state whose tensors lie in memory otherwise, in dictionaries of another order."""
    if isinstance(value, dict):
        return OrderedDict((key, strided(each)) for key, each in reversed(value.items()))
    if not isinstance(value, torch.Tensor):
        return value
    return value.repeat_interleave(2, dim=0)[::2].requires_grad_(value.is_floating_point())


@pytest.mark.parametrize("kind", MAKERS)
def test_a_state_may_be_copied_in_any_way(kind, tmp_path):
    _, state = trained(kind, 12)
    torch.save({"callbacks": [state]}, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)["callbacks"][0]
    legacy = tmp_path / "legacy.pt"
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    again = [torch.load(legacy, weights_only=True), pickle.loads(pickle.dumps(state))]
    for each in (loaded, *again, copy.deepcopy(state), dict(state), strided(state)):
        other = MAKERS[kind]()
        other.load_state_dict(each)
        assert facts_of(other) == facts_in(state)


def test_a_state_does_not_depend_on_the_default_device():
    """Under `torch.device("meta")`, as while a large model is made, tensors have no content."""
    for kind in MAKERS:
        train, _ = trained(kind, 12)
        with torch.device("meta"):
            again = train.state_dict()
            MAKERS[kind]().load_state_dict(again)
        tensors = [at(again, path) for path in leaves_of(again)]
        assert all(each.device.type == "cpu" for each in tensors if torch.is_tensor(each))


def test_states_that_contain_themselves():
    state = trained("BLS", 3)[1]
    many = []
    for _ in range(30):
        many = [many, many]  # 2³⁰ places
    assert sealed({**state, "more": many})["checksum"] != state["checksum"]
    with pytest.raises(RuntimeError, match="it is nested deeper than"):
        MAKERS["BLS"]().load_state_dict({**state, "more": cyclic()})
