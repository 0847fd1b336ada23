"""Checkpoints between epochs: the resumed run is the uninterrupted one."""

from __future__ import annotations

import copy
import enum
import pickle
import struct
import zlib
from collections import OrderedDict

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, mean_loss, sample_losses, train_epoch

from dynaprune import (
    BLS,
    UCB,
    DataLoader,
    InfoBatch,
    KalmanBLS,
    NoPrune,
    PrunedIterableDataset,
    RandomPrune,
    RePB,
    SeTa,
    Sharded,
    StaticPrune,
    TrimmedLoss,
)
from dynaprune.training.checksum import sealed


def run(train, epochs, loss_of=mean_loss):
    loader = DataLoader(train, batch_size=7)
    return [train_epoch(loader, loss_of) for _ in range(epochs)]


@pytest.mark.parametrize("stop", [0, 1, 4])
@pytest.mark.parametrize("method", [InfoBatch, SeTa, RandomPrune, StaticPrune, NoPrune])
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
    "moments": lambda: bls(TrimmedLoss, 60, start=0.1),
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
        ("BLS", "score.moments", lambda v: v - 1, "its moments cannot be"),
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
    with pytest.raises(RuntimeError, match="this UCB cannot plan epoch 2, in the middle of which"):
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
    return value.repeat_interleave(2)[::2].requires_grad_(value.is_floating_point())


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
