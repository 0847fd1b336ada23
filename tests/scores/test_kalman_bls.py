"""KalmanBLS against a filter written down step by step, and what it promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from helpers import Numbers, train_epoch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata, spearmanr
from streams import Stored, stream_of

from dynaprune import BLS, DataLoader, KalmanBLS, NoPrune, RandomPrune
from dynaprune.losses.measurements import Measurements
from dynaprune.scores.reliability import Reliability, _normal_scores
from dynaprune.scores.windows import LENGTH, Windows


def without_trend(scores: np.ndarray) -> np.ndarray:
    """Normal scores of what a significant straight line leaves of normal scores."""
    if len(scores) < 8:
        return scores
    line = np.polynomial.Polynomial.fit(np.arange(len(scores)), scores, 1)
    rest = scores - line(np.arange(len(scores)))
    if (scores @ scores - rest @ rest) <= 6 * (rest @ rest) / (len(scores) - 2):
        return scores
    return norm.ppf((rankdata(rest.round(9)) - 0.5) / len(scores))


class Reference:
    """The docstring's formulas, a sample at a time, for epochs of one window."""

    def __init__(self, count: int) -> None:
        self.excess, self.variances = [0.0] * count, [1.0] * count
        self.mean_loss = self.spread = 0.0
        self.measured = 0

    def epoch(self, batches: list[list[int]], losses: list[float]) -> None:
        sizes = [len(batch) for batch in batches]
        served = [sample for batch in batches for sample in batch]
        level = sum(s * loss for s, loss in zip(sizes, losses, strict=True)) / sum(sizes)
        deviations = [  # rounded, so that equal losses are a tie
            round((loss - level) * math.sqrt(size), 9)
            for loss, size in zip(losses, sizes, strict=True)
        ]
        quantiles = without_trend(norm.ppf((rankdata(deviations) - 0.5) / len(batches)))
        around = np.mean([self.excess[sample] for sample in served])
        unit = 1.0
        if len(served) < len(self.excess):
            among = [
                np.var([self.excess[i] for i in group])
                + np.mean([self.variances[i] for i in group])
                for group in (served, range(len(self.excess)))
            ]
            unit = math.sqrt(among[0] / among[1])
        # of few measurements, the unit is taken over by parts
        variance = sum(each**2 for each in deviations) / max(1, len(batches) - 1)
        trust = min(1.0, max(len(batches) / 32, len(batches) / (len(batches) + self.measured)))
        self.mean_loss += trust * (level - self.mean_loss)
        self.spread = math.sqrt(trust * variance + (1 - trust) * self.spread**2)
        self.measured += len(batches)
        for batch, z in zip(batches, quantiles, strict=True):
            mine = [self.excess[i] for i in batch]
            variances = [self.variances[i] for i in batch]
            residual = unit * z / math.sqrt(len(batch)) - (np.mean(mine) - around)
            for i, excess, variance in zip(batch, mine, variances, strict=True):
                gain = variance / (np.mean(variances) + 1.0)
                self.excess[i] = excess + gain * residual
                self.variances[i] = variance * (1 - gain / len(batch))
        self.excess = [math.sqrt(0.98) * excess for excess in self.excess]
        self.variances = [0.98 * variance + 0.02 for variance in self.variances]

    def scores(self) -> list[float]:
        kappa = math.sqrt(math.log1p((self.spread / self.mean_loss) ** 2))
        raised = [math.exp(kappa * excess) for excess in self.excess]
        return [self.mean_loss * each / np.mean(raised) for each in raised]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), length=st.integers(2, 60), batch_size=st.integers(1, 17),
    skipped=st.sampled_from([0.0, 0.3]), epochs=st.integers(1, 4),
)  # fmt: skip
def test_equals_the_formulas_sample_by_sample(seed, length, batch_size, skipped, epochs):
    random = np.random.default_rng(seed)
    train = KalmanBLS(RandomPrune(Numbers(length), epochs, saving=skipped)).proxy()
    loader = DataLoader(train, batch_size=batch_size)
    reference = Reference(length)
    for _ in range(epochs):
        losses: list[float] = []

        def loss_of(batch, losses=losses):
            losses.append(round(float(random.lognormal()), 2))
            return torch.tensor(losses[-1], dtype=torch.float64)

        served = train_epoch(loader, loss_of)
        reference.epoch(served, losses)
    np.testing.assert_allclose(train.scores.numpy(), reference.scores(), rtol=2e-4)


def observed(batches: list[list[int]], losses: list[float], count: int, epochs: int = 1):
    score = KalmanBLS(NoPrune(Numbers(count), 1))
    for _ in range(epochs):
        score.fold(as_batches(batches, losses))
    return score


def as_batches(batches: list[list[int]], losses: list[float]) -> Measurements:
    return Measurements(
        torch.tensor([sample for batch in batches for sample in batch]),
        torch.tensor([len(batch) for batch in batches]),
        torch.tensor(losses),
        torch.arange(len(batches)),
    )


def fidelity(score, *, epochs: int, batch_size: int, vectors: bool = False, power: float = 1.0):
    """Rank correlation with fixed true losses, of batches drawn at random."""
    random = np.random.default_rng(0)
    true = random.lognormal(size=1000)
    for epoch in range(epochs):
        order = random.permutation(1000).reshape(-1, batch_size)
        scale = power**epoch  # losses that all fall together
        losses = true[order] * scale
        if vectors:
            batches = [[i] for i in order.ravel().tolist()]
            score.fold(as_batches(batches, losses.ravel().tolist()))
        else:
            score.fold(as_batches(order.tolist(), losses.mean(1).tolist()))
    return spearmanr(score.values().numpy(), true).statistic


@pytest.mark.parametrize("batch_size", [4, 20, 50])
@pytest.mark.parametrize(
    ("power", "times"),
    # falling losses lengthen the moving average's memory, to α/0.7 = 1 an epoch
    [(1.0, 1.3), (0.7, 1.02), (0.4, 1.5)],
)
def test_orders_samples_better_than_the_moving_average(batch_size, power, times):
    base = NoPrune(Numbers(1000), 1)
    ours = fidelity(KalmanBLS(base), epochs=30, batch_size=batch_size, power=power)
    theirs = fidelity(BLS(base, alpha=0.7), epochs=30, batch_size=batch_size, power=power)
    assert ours > times * theirs


def test_a_loss_vector_is_read_as_it_is():
    base = NoPrune(Numbers(1000), 1)
    assert fidelity(KalmanBLS(base), epochs=3, batch_size=50, vectors=True) > 0.99


@pytest.mark.parametrize("change", [lambda x: 1000 * x, lambda x: x**3, lambda x: x + 50])
def test_only_the_order_of_losses_matters(change):
    random = np.random.default_rng(1)
    batches = random.permutation(60).reshape(-1, 4).tolist()
    losses = random.lognormal(size=15)
    plain = observed(batches, losses.tolist(), 60).values().numpy()
    changed = observed(batches, change(losses).tolist(), 60).values().numpy()
    assert spearmanr(plain, changed).statistic > 0.9999
    assert changed.mean() == pytest.approx(change(losses).mean(), rel=1e-4)


def test_losses_below_zero_have_scores_too():
    score = observed([[0, 1], [2, 3], [4, 5]], [-3.0, -1.0, 2.0], 6)
    values = score.values().numpy()
    assert values[0] == values[1] < values[2] == values[3] < values[4] == values[5]
    assert values.mean() == pytest.approx(-2 / 3, abs=1e-5)


def test_equal_losses_are_equal_scores():
    values = observed([[0, 1], [2, 3], [4]], [0.5, 0.5, 0.5], 5).values()
    assert values.tolist() == pytest.approx([0.5] * 5)


def test_scores_are_equal_before_the_first_batch():
    assert KalmanBLS(NoPrune(Numbers(3), 1)).values().unique().numel() == 1


def test_errors_fall_with_visits_and_grow_without():
    batches = np.arange(80).reshape(-1, 4).tolist()
    losses = np.random.default_rng(2).lognormal(size=20).tolist()
    score = observed(batches, losses, 100, epochs=5)
    errors = (score.errors() / score.values()).numpy()
    assert (errors[:80] < errors[80]).all()  # the last 20 were never measured
    kappa = errors[80]  # that of a sample of which nothing is known is κ·score
    # P after five visits in batches of 4, where all have the same P
    variance = 1.0
    for _ in range(5):
        variance = 0.98 * variance * (1 - variance / (variance + 1) / 4) + 0.02
    assert errors[0] == pytest.approx(kappa * math.sqrt(variance), rel=1e-4)
    score.end_epoch()
    assert ((score.errors() / score.values())[:80] > torch.from_numpy(errors[:80])).all()


def test_scores_written_by_another_library_are_taken_over():
    score = observed([[0, 1], [2, 3], [4, 5]], [1.0, 2.0, 4.0], 6)
    before = score.values().clone()
    score.restore(before)
    assert score.values().equal(before)
    score.restore(before.flip(0))
    np.testing.assert_allclose(score.values().numpy(), before.flip(0).numpy(), rtol=1e-4)


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=600),
    seed=st.integers(0, 100),
)
@settings(max_examples=30, deadline=None)
def test_windows_compare_what_is_near(sizes, seed):
    values = np.random.default_rng(seed).integers(0, 20, len(sizes)).astype(float)
    windows = Windows(np.array(sizes))
    count = max(1, len(sizes) // LENGTH)
    bounds = [-(-len(sizes) * i // count) for i in range(count + 1)]
    for first, last in itertools.pairwise(bounds):
        assert last - first < 2 * LENGTH or count == 1
        part = slice(first, last)
        places = (rankdata(values[part]) - 0.5) / (last - first)
        np.testing.assert_allclose(windows.normal_scores(values)[part], norm.ppf(places), atol=1e-9)
        mean = np.average(values[part], weights=sizes[part])
        np.testing.assert_allclose(windows.centred(values)[part], values[part] - mean, atol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 10, 50])
@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
def test_reliability_is_the_correlation_of_single_samples(batch_size, noise):
    random = np.random.default_rng(3)
    true = random.normal(size=20_000)
    scores = true + noise * random.normal(size=true.size)
    reliability = Reliability()
    for _ in range(3):
        order = random.permutation(true.size)
        losses = true[order].reshape(-1, batch_size).mean(1)
        sizes = np.full(losses.size, batch_size)
        reliability.compare(scores[order].astype(np.float32), sizes, losses.astype(np.float32))
    assert reliability.value == pytest.approx(1 / math.sqrt(1 + noise**2), abs=0.1)


def test_reliability_of_a_run(caplog):
    train = KalmanBLS(NoPrune(Numbers(400), 8)).proxy()
    loader = DataLoader(train, batch_size=8)
    assert math.isnan(train.reliability)
    with caplog.at_level("INFO", "dynaprune"):
        for _ in range(8):
            train_epoch(loader, lambda batch: (batch % 7).float().mean())
    assert 0.3 < train.reliability < 1
    assert "reliability 0." in caplog.text


def test_random_losses_are_not_reliable():
    random = np.random.default_rng(4)
    train = KalmanBLS(NoPrune(Numbers(2000), 8)).proxy()
    loader = DataLoader(train, batch_size=8)
    for _ in range(8):
        train_epoch(loader, lambda _: torch.tensor(random.lognormal()))
    assert abs(train.reliability) < 0.15


def test_samples_that_repeat_within_an_epoch_are_read_beside_all_others():
    random = np.random.default_rng(5)
    true = random.lognormal(size=500)
    score = KalmanBLS(NoPrune(Numbers(500), 1))
    for _ in range(30):
        batches = random.integers(0, 500, size=(60, 8))
        score.fold(as_batches(batches.tolist(), true[batches].mean(1).tolist()))
    assert spearmanr(score.values().numpy(), true).statistic > 0.7


@pytest.mark.parametrize(
    ("name", "value"),
    [("variances", torch.ones(5)), ("unit", torch.ones(2)), ("reliability", torch.ones(2)),
     ("progress", torch.ones(2)), ("unit", [1, 2, 3, 4])],
)  # fmt: skip
def test_damaged_states(name, value):
    score = KalmanBLS(NoPrune(Numbers(6), 1))
    state = score.state_dict() | {name: value}
    with pytest.raises(RuntimeError, match=f"the state is damaged: its {name} must be a tensor"):
        score.load_state_dict(state)


def test_scores_of_a_stream_before_its_first_pass():
    train = KalmanBLS(NoPrune(stream_of(Stored(5)), 2)).proxy()
    assert train.scores.shape == (0,)
    assert train.epochs.score.errors().shape == (0,)


def test_places_of_scores_as_normal_quantiles():
    """SciPy's, of any floats: below 0, equal, zeros of both signs, the smallest that there are."""
    random = np.random.default_rng(7)
    some = np.array([0.0, -0.0, 1, -1, -1, 1e-45, -1e-45, 3e38, -3e38], dtype=np.float32)
    many = random.normal(size=5000).astype(np.float32)
    for values in (some, many, many.round(2), -many, np.ones(3, dtype=np.float32)):
        expected = norm.ppf((rankdata(values.astype(np.float64)) - 0.5) / values.size)
        np.testing.assert_allclose(_normal_scores(values), expected, atol=1e-12)
