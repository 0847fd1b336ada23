"""Scores against step-by-step references."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, mean_loss, train_epoch
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import Stored, stream_of

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, RandomPrune, SampleLoss
from dynaprune.losses.measurements import Measurements
from dynaprune.utils.settings import plain


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    alpha=st.floats(0, 0.99),
    length=st.integers(1, 60),
    batch_size=st.integers(1, 17),
    epochs=st.integers(1, 4),
)
def test_bls_equals_updating_step_by_step(seed, alpha, length, batch_size, epochs):
    random = np.random.default_rng(seed)
    saving = 0.3 if length > 1 else 0.0  # an epoch keeps one sample
    train = BLS(RandomPrune(Numbers(length), epochs, saving=saving), alpha=alpha).proxy()
    loader = DataLoader(train, batch_size=batch_size)
    reference = None
    for _ in range(epochs):
        for batch in loader:
            loss = float(random.lognormal())
            train.update(torch.tensor(loss))
            if reference is None:
                reference = np.full(length, loss)
            for sample in batch.tolist():
                reference[sample] = alpha * reference[sample] + (1 - alpha) * loss
    np.testing.assert_allclose(train.scores.numpy(), reference, rtol=1e-5)


def test_bls_starts_at_the_mean_loss_of_the_first_batch():
    train = BLS(NoPrune(Numbers(10), 2), alpha=0.7).proxy()
    loader = DataLoader(train, batch_size=3)
    first = train_epoch(loader, lambda batch: torch.tensor(2.0), stop_after=1)[0]
    unseen = [i for i in range(10) if i not in first]
    assert train.scores.tolist() == [2.0] * 10
    second = train_epoch(loader, lambda batch: torch.tensor(4.0), stop_after=1)[0]
    scores = train.scores
    assert scores[second].tolist() == pytest.approx([0.7 * 2.0 + 0.3 * 4.0] * 3)
    assert all(scores[i] == 2.0 for i in unseen if i not in second)


def test_alpha_zero_is_the_last_loss():
    train = BLS(NoPrune(Numbers(4), 3), alpha=0.0).proxy()
    loader = DataLoader(train, batch_size=2)
    for loss in (5.0, 3.0):
        train_epoch(loader, lambda batch, loss=loss: torch.tensor(loss))
    assert train.scores.tolist() == [3.0] * 4


def test_bls_impulse_response_is_geometric():
    """h(n) = (1 − α)·αⁿ: one batch with loss 1 among zeros, then what is left of it."""
    alpha = 0.7
    train = BLS(NoPrune(Numbers(1), 9), alpha=alpha).proxy()
    loader = DataLoader(train)
    response = []
    for loss in [0.0, 1.0, *[0.0] * 6]:
        train_epoch(loader, lambda batch, loss=loss: torch.tensor(loss))
        response.append(train.scores.item())
    expected = [0.0, *((1 - alpha) * alpha**n for n in range(7))]
    assert response == pytest.approx(expected, rel=1e-5)


def test_a_loss_vector_is_a_measurement_of_each_sample():
    train = BLS(NoPrune(Numbers(4), 3), alpha=0.5).proxy()
    loader = DataLoader(train, batch_size=4)
    order = train_epoch(loader, lambda batch: batch.float())[0]  # sample i has loss i
    assert sorted(order) == [0, 1, 2, 3]
    start = 1.5  # the mean loss of the first batch
    assert train.scores.tolist() == [0.5 * start + 0.5 * i for i in range(4)]


def test_sample_loss_is_the_last_loss_of_each_sample():
    train = InfoBatch(Numbers(100), num_epochs=9)
    assert train.scores.tolist() == [0.0] * 100
    loader = DataLoader(train, batch_size=7)
    seen: dict[int, float] = {}
    for epoch in range(4):
        for batch in loader:
            losses = (batch * (epoch + 1)).float()
            train.update(losses)
            seen.update(zip(batch.tolist(), losses.tolist(), strict=True))
    assert train.scores.tolist() == [seen[i] for i in range(100)]


def test_scores_read_in_the_middle_of_an_epoch_change_nothing():
    runs = []
    for reads in (False, True):
        train = bls(InfoBatch, 50)
        loader = DataLoader(train, batch_size=8)
        served = []
        for _ in range(5):
            for batch in loader:
                train.update(batch.float().mean())
                served.append(batch.tolist())
                if reads:
                    train.scores.fill_(float("nan"))  # a copy: the user's to write to
        runs.append((served, train.scores.tolist()))
    assert runs[0] == runs[1]


def test_repeats_are_observed_one_after_the_other():
    """A loop that draws with replacement: folded at once, it equals updating step by step."""
    random = np.random.default_rng(0)
    train = BLS(NoPrune(Numbers(20), 2), alpha=0.6).proxy()
    train.begin_epoch()
    reference = None
    for step in range(200):
        batch = random.integers(0, 20, size=random.integers(1, 6))
        losses = random.lognormal(size=batch.size if step % 3 == 0 else 1)
        if np.unique(batch).size < batch.size:
            losses = losses[:1]
        train.update(torch.tensor(losses), indices=batch)
        if reference is None:
            reference = np.full(20, losses.mean())
        for position, sample in enumerate(dict.fromkeys(batch.tolist())):
            loss = losses[position] if losses.size > 1 else losses[0]
            reference[sample] = 0.6 * reference[sample] + 0.4 * loss
    np.testing.assert_allclose(train.scores.numpy(), reference, rtol=1e-4)


@settings(max_examples=100, deadline=None)
@given(
    groups=st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=4), min_size=1, max_size=12)
)
def test_disjoint_parts(groups):
    sizes = torch.tensor([len(group) for group in groups])
    batches = Measurements(
        torch.tensor([i for group in groups for i in group]),
        sizes,
        torch.arange(len(groups)).float(),
        torch.arange(len(groups)),
    )
    parts = list(batches.disjoint())
    assert torch.cat([part.indices for part in parts]).tolist() == batches.indices.tolist()
    assert torch.cat([part.losses for part in parts]).tolist() == batches.losses.tolist()
    for part in parts:
        members = [set(chunk.tolist()) for chunk in part.indices.split(part.sizes.tolist())]
        assert sum(len(group) for group in members) == len(set().union(*members))
    for before, after in itertools.pairwise(parts):  # no part could have been longer
        follower = set(after.indices[: int(after.sizes[0])].tolist())
        assert follower & set(before.indices.tolist())


def test_sample_loss_as_proxy():
    train = SampleLoss(NoPrune(Numbers(10), 3)).proxy()
    train_epoch(DataLoader(train, batch_size=5), lambda batch: batch.float())
    assert train.scores.tolist() == list(range(10))


class Own(BLS):
    """A score of a user's, with tensors of its own, that wants to see an epoch whole."""

    observes_in_parts = False

    def __init__(self, base):
        super().__init__(base)
        self.extra = torch.zeros(len(base), dtype=torch.bfloat16)
        self.same = self._values
        self.epochs = 0

    def observe(self, batches):
        super().observe(batches)
        self.epochs += 1


def test_a_score_of_ones_own_is_copied_whole_and_observes_epochs_whole(monkeypatch):
    monkeypatch.setattr("dynaprune.losses.measurements.PORTION", 10)
    train = Own(NoPrune(Numbers(60), 5)).proxy()
    for _ in range(3):
        train_epoch(DataLoader(train, batch_size=7), lambda batch: torch.tensor(1.0))
    assert train.scores.tolist() == [1.0] * 60
    train.end_epoch()
    score = train.epochs.score
    assert score.epochs == 3
    assert score.same is score._values


@pytest.mark.parametrize("initial", [0.0, 2.5, -1])
def test_bls_from_a_number_by_its_formula(initial):
    train = BLS(NoPrune(Numbers(20), 5), alpha=0.7, initial=initial).proxy()
    assert train.scores.tolist() == [initial] * 20
    expected = [float(initial)] * 20
    for _ in range(4):
        for batch in DataLoader(train, batch_size=6):
            loss = mean_loss(batch)
            train.update(loss)
            for i in batch.tolist():
                expected[i] = 0.7 * expected[i] + 0.3 * float(loss)
    assert train.scores.tolist() == pytest.approx(expected, abs=1e-6)


def test_bls_from_a_number_leaves_what_was_not_served_there():
    train = BLS(NoPrune(Numbers(4), 5), alpha=0.5, initial=0.0).proxy()
    train.begin_epoch()
    train.update(torch.tensor(3.0), indices=[0, 1])
    assert train.scores.tolist() == [1.5, 1.5, 0, 0]
    first = BLS(NoPrune(Numbers(4), 5), alpha=0.5).proxy()  # "first" is the default
    first.begin_epoch()
    first.update(torch.tensor(3.0), indices=[0, 1])
    assert first.scores.tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("initial", [0.0, 4.0])
def test_keys_that_are_new_start_at_the_number(initial):
    stored = Stored(4)
    train = BLS(NoPrune(stream_of(stored), 5), alpha=0.5, initial=initial).proxy()
    expected = dict.fromkeys(range(6), initial)
    for length in (4, 6):
        stored.numbers = list(range(length))
        for batch in DataLoader(train, batch_size=2):
            train.update(torch.tensor(8.0))
            for i in batch.tolist():
                expected[i] = (expected[i] + 8) / 2
    numbers = train.numbers_of(f"sample {i}" for i in range(6))
    assert train.scores[numbers].tolist() == list(expected.values())


def test_a_start_outlives_a_checkpoint():
    def made():
        return BLS(NoPrune(Numbers(4), 5), alpha=0.5, initial=3.0).proxy()

    fresh = made()
    fresh.load_state_dict(made().state_dict())  # before any loss
    for train in (made(), fresh):
        train.begin_epoch()
        train.update(torch.tensor(1.0), indices=[0])
        train.end_epoch()
        assert train.scores.tolist() == [2, 3, 3, 3]
        resumed = made()
        resumed.load_state_dict(train.state_dict())
        assert resumed.scores.equal(train.scores)


def test_where_bls_starts_is_a_setting():
    assert plain(BLS(range(3)))["initial"] == "first"
    assert plain(BLS(range(3), initial=0))["initial"] == 0


@pytest.mark.parametrize(
    ("initial", "error", "message"),
    [
        ("zero", ValueError, "initial must be \"first\", .* or a number, but 'zero' was given"),
        (float("nan"), ValueError, "initial must be finite, but nan was given"),
        (None, TypeError, r"initial must be a number, but None \(NoneType\) was given"),
        (True, TypeError, "initial must be a number, but True"),
        (-1e39, ValueError, r"a number of float32, at most 3.4e\+38, but -1e\+39 was given"),
        (10**400, ValueError, "initial must be finite, but 1000"),
    ],
)
def test_a_start_that_is_none(initial, error, message):
    with pytest.raises(error, match=message):
        BLS(range(3), initial=initial)
