"""What holds for every method, whatever the scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from every_method import METHODS
from helpers import Numbers, beside, bls, mean_loss, train_epoch
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import Stored, stream_of

from dynaprune import BLS, DataLoader, NoPrune, PrunedIterableDataset, RandomPrune
from dynaprune.methods import (
    UCB,
    EpsilonGreedy,
    OrderDP,
    SelectiveBackprop,
    StaticPrune,
)
from dynaprune.methods._exact_share import ExactShare
from dynaprune.planning.plan import make_plan
from dynaprune.scores.loss_progress import LossProgress
from dynaprune.scores.loss_trends import Unlearned
from dynaprune.utils.rng import epoch_generator


def select(name, train, scores, epoch, seed, knows_errors=False):
    """Select as `PrunedDataset` does, with what the method reads."""
    read = beside(train.extra_inputs, scores, epoch, knows_errors)
    return train.select(scores, epoch, epoch_generator(seed, epoch), **read)


scores_of_any_shape = st.one_of(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=10, max_size=60),
    st.lists(st.sampled_from([0.0, 1.0, 1e-30, -2.5]), min_size=10, max_size=60),
    st.builds(
        lambda value, n: [value] * n,
        st.floats(-(2.0**100), 2.0**100, width=32),
        st.integers(10, 60),
    ),
)


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=60, deadline=None)
@given(
    scores=scores_of_any_shape,
    epoch=st.integers(0, 25),
    seed=st.integers(0, 2**40),
    knows_errors=st.booleans(),
)
def test_every_plan_is_sound(name, scores, epoch, seed, knows_errors):
    scores = torch.tensor(scores)
    before = scores.clone()
    train = METHODS[name](Numbers(scores.numel()), 20, seed=seed)
    if name.startswith("LossProportional") and scores.min() < 0:
        with pytest.raises(RuntimeError, match="losses must be at least 0"):
            select(name, train, scores, epoch, seed, knows_errors)
        return
    plans = []
    for _ in range(2):  # same seed, same plan
        selection = select(name, train, scores, epoch, seed, knows_errors)
        plans.append(make_plan(selection, scores.numel(), epoch, seed))
    first, second = plans
    assert scores.equal(before)
    assert 1 <= len(first) <= scores.numel()
    assert first.order.dtype == torch.int32  # while sample numbers fit
    assert first.order.min() >= 0
    assert first.order.max() < scores.numel()
    assert first.order.unique().numel() == len(first)
    assert first.order.equal(second.order)
    if first.weights is not None:
        weights = first.weights.every()
        assert weights.dtype == np.float32
        assert weights.shape == (scores.numel(),)
        assert np.isfinite(weights).all()
        assert (weights > 0).all()
        assert np.array_equal(weights, second.weights.every())


@pytest.mark.parametrize("name", METHODS)
def test_another_seed_or_epoch_is_another_order(name):
    scores = torch.rand(200)
    orders = set()
    for seed in range(3):
        train = METHODS[name](Numbers(200), 20, seed=seed)
        for epoch in range(3):
            selection = select(name, train, scores, epoch, seed)
            orders.add(tuple(make_plan(selection, 200, epoch, seed).order.tolist()))
    assert len(orders) == 9


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("epoch", [0, 7, 19])
def test_no_sample_is_favoured_by_its_index(name, epoch):
    """Where scores are equal, what is skipped is drawn: over many seeds, each as often."""
    scores, seeds = torch.full((20,), 0.3), 200
    served = np.zeros(20)
    for seed in range(seeds):
        train = METHODS[name](Numbers(20), 20, seed=seed)
        known = {
            "errors": None,
            "visits": torch.full((20,), epoch, dtype=torch.int32),
            "last_steps": torch.full((20,), epoch, dtype=torch.int32) - 1,
            "mean_excess": torch.zeros(20),
            "trends": Unlearned(0.3, 0.01),
            "progress": LossProgress(variation=1.0, fall=0.05),
        }
        read = {key: known[key] for key in train.extra_inputs}
        selection = train.select(scores, epoch, epoch_generator(seed, epoch), **read)
        served[selection.indices.numpy()] += 1
    share = served.mean() / seeds
    deviation = np.sqrt(share * (1 - share) / seeds)  # of a sample that is drawn each time
    assert (abs(served / seeds - share) <= 4.5 * deviation + 1e-9).all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_tiny_datasets(name, length):
    is_exact = issubclass(getattr(METHODS[name], "func", METHODS[name]), ExactShare)
    saves = "saving" in name or (is_exact and "auto" not in name)
    if saves and length < (5 if "steep" in name else 2):  # an epoch keeps one sample
        with pytest.raises(ValueError, match="cannot be reached: .*can skip at most"):
            METHODS[name](Numbers(length), 10)
        return
    train = bls(METHODS[name], length)
    for _ in range(10):
        served = 0
        for batch in DataLoader(train, batch_size=2):
            train.update(batch.float().mean())
            served += batch.numel()
        assert 1 <= served <= length


@pytest.mark.parametrize("ratio", [0.0, 0.1, 1 / 3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize(
    "method",
    [RandomPrune, EpsilonGreedy, UCB, OrderDP, SelectiveBackprop],
    ids=lambda m: m.__name__,
)
def test_a_share_is_met_over_the_run(method, ratio):
    if (1 - ratio) * 97 < 1:
        with pytest.raises(ValueError, match=r"saving=0.999 cannot be reached: .* most 0.990 can"):
            method(Numbers(97), 30, saving=ratio)
        return
    train = method(Numbers(97), 30, saving=ratio)
    scores = torch.rand(97, generator=torch.Generator().manual_seed(0))
    kept = []
    for epoch in range(30):
        read = beside(train.extra_inputs, scores, epoch)
        selection = train.select(scores, epoch, epoch_generator(0, epoch), **read)
        assert selection.weights is None
        kept.append(selection.indices.tolist())
    assert sum(map(len, kept)) == pytest.approx((1 - ratio) * 97 * 30, abs=0.5 + 1e-6)
    assert all(kept)


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_is_the_uninterrupted_one(name):
    """Also in what methods read beside scores."""

    def make():
        return bls(METHODS[name], 60)

    def epoch(train, stop_after=None):
        return train_epoch(DataLoader(train, batch_size=7), mean_loss, stop_after=stop_after)

    train, resumed = make(), make()
    for _ in range(4):
        epoch(train)
    resumed.load_state_dict(train.state_dict())
    for _ in range(3):
        assert epoch(resumed) == epoch(train)
    assert resumed.scores.equal(train.scores)


@pytest.mark.parametrize("name", METHODS)
def test_streams(name):
    """Samples that come later are served, and known from then on."""
    stored = [{"key": f"{i}", "value": float(i)} for i in range(40)]
    stream = PrunedIterableDataset(stored, key="key", decode=lambda each: each["value"])
    train = BLS(METHODS[name](stream, 12)).proxy()
    loader = DataLoader(train, batch_size=4)
    for number in range(6):
        if number == 3:
            stored += [{"key": f"{i}", "value": float(i)} for i in range(40, 60)]
        served = [i for batch in train_epoch(loader, lambda b: b.float().mean()) for i in batch]
        assert len(set(served)) == len(served)
        if number in (0, 3):  # what is new is served
            new = range(40) if number == 0 else range(40, 60)
            assert set(served) >= set(map(float, new))
    assert len(train) == 60


def test_random_prune_serves_every_sample_in_turn():
    train = RandomPrune(Numbers(97), 30, saving=0.77)
    kept = [
        train.select(torch.zeros(97), epoch, epoch_generator(0, epoch)).indices.tolist()
        for epoch in range(30)
    ]
    assert len(set(map(frozenset, kept))) == 30
    assert np.bincount(np.concatenate(kept), minlength=97).min() > 0


def test_static_prune_keeps_one_share():
    train = bls(StaticPrune, 100, saving=0.3)
    loader = DataLoader(train, batch_size=10)
    epochs = []
    for _ in range(4):
        epochs.append([])
        for batch in loader:
            train.update(batch.float().mean())
            epochs[-1] += batch.tolist()
    assert all(set(served) == set(epochs[0]) for served in epochs)
    assert len(epochs[0]) == 70
    assert epochs[0] != epochs[1]  # the same samples in another order


def test_no_prune_serves_everything():
    train = bls(NoPrune, 100)
    loader = DataLoader(train, batch_size=10)
    for _ in range(3):
        served = []
        for batch in loader:
            assert train.update(torch.tensor(2.0)).item() == 2.0
            served += batch.tolist()
        assert sorted(served) == list(range(100))


class Looking(NoPrune):
    """A method of the user's that says late, in its constructor, what it reads."""

    def __init__(
        self, dataset, num_epochs, extra_inputs=("visits", "last_steps", "last_epochs", "trends")
    ):
        super().__init__(dataset, num_epochs)
        self.extra_inputs = extra_inputs
        self.found = []

    def select(self, scores, epoch, generator, **read):
        self.found.append(read)
        return super().select(scores, epoch, generator)


def train_epochs(train, count, batch_size=5):
    for _ in range(count):
        for batch in DataLoader(train, batch_size=batch_size):
            train.update(mean_loss(batch))
    train.end_epoch()


@pytest.mark.parametrize("on_stream", [False, True])
@pytest.mark.parametrize("proxy", [False, True])
def test_what_a_method_reads_may_be_said_after_the_constructor_of_its_base(on_stream, proxy):
    train = Looking(stream_of(Stored(20)) if on_stream else Numbers(20), 5)
    if proxy:
        BLS(train).proxy()
    train_epochs(train, 2)
    train.next_selection()
    read = train.found[-1]
    assert read["visits"].tolist() == [2] * 20
    assert sorted(set(read["last_steps"].tolist())) == [4, 5, 6, 7]  # four steps an epoch
    assert read["last_epochs"].tolist() == [1] * 20
    assert set(read) == {"visits", "last_steps", "last_epochs", "trends"}


@pytest.mark.parametrize("name", ["visits", "last_steps", "last_epochs", "mean_excess", "trends"])
def test_what_was_not_kept_from_the_first_epoch_on_cannot_be_read(name):
    train = Looking(Numbers(20), 5, extra_inputs=())
    train_epochs(train, 1)
    train.extra_inputs = (name,)
    with pytest.raises(RuntimeError, match=f"the method reads {name}, which must be recorded from"):
        train_epochs(train, 1)


@pytest.mark.parametrize("extra_inputs", ["visits", ("losses",), ("visits", "lossses")])
def test_what_nobody_knows_cannot_be_read(extra_inputs):
    train = Looking(Numbers(20), 5, extra_inputs=extra_inputs)
    with pytest.raises(
        ValueError, match=r"extra_inputs must be a tuple of names among errors, visits, l"
    ):
        train.begin_epoch()
