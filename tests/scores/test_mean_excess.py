"""The mean excess of samples over a run, compared with a plain implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import Numbers, mean_loss, sample_losses, train_epoch
from scipy import stats

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, RandomPrune, SampleLoss, TrimmedLoss
from dynaprune.losses.measurements import Measurements
from dynaprune.scores.mean_excess import MeanExcess


def measurements(groups, losses):
    indices = torch.from_numpy(np.concatenate(groups))
    sizes = torch.tensor([len(group) for group in groups])
    return Measurements(
        indices, sizes, torch.tensor(losses, dtype=torch.float32), torch.arange(len(groups))
    )


def plainly(epochs, num_samples):
    """The formulas of `MeanExcess` for loss vectors in one window, sample by sample."""
    excess, variances, precisions, first = np.zeros(num_samples), np.ones(num_samples), [], None
    for order, losses in epochs:
        normal = stats.norm.ppf((stats.rankdata(losses) - 0.5) / len(losses))
        spread = np.subtract(*np.quantile(losses, [0.9, 0.1]))
        if first is None:
            first, precision = spread, 2.0
        else:
            found = 1 - variances[order].mean()
            explained = max(0, np.corrcoef(normal, excess[order])[0, 1]) ** 2 / found
            guess, own = 1 / 0.2**2, len(losses) * found / 2
            share = (0.5 * guess + explained * own) / (guess + own)
            share = min(0.95, max(0.05, share))
            precision = 2 * (share / (1 - share) * min(4, spread / first)) ** 2
            precision = max(precision, 0.4 * np.mean(precisions))
        precisions.append(precision)
        centre = excess[order].mean()
        for sample, score in zip(order, normal, strict=True):
            gain = variances[sample] / (variances[sample] + 1 / precision)
            excess[sample] += gain * (score + centre - excess[sample])
            variances[sample] *= 1 - gain
    return excess


def test_equals_the_formulas():
    random = np.random.default_rng(0)
    level = random.gamma(2.0, size=100)
    epochs = []
    for epoch in range(6):
        order = random.permutation(100)
        epochs.append((order, (level[order] + random.gamma(1.0, size=100)) * 0.7**epoch))
    found = MeanExcess(100)
    for order, losses in epochs:
        found.fold(measurements([[sample] for sample in order], losses))
    assert found.values == pytest.approx(plainly(epochs, 100), abs=0.002)  # errors are float16


@pytest.mark.parametrize("size", [1, 4])
def test_scale_and_level_do_not_matter(size):
    random = np.random.default_rng(1)
    level = random.gamma(2.0, size=400)
    one, other = MeanExcess(400), MeanExcess(400)
    for _ in range(4):
        groups = random.permutation(400).reshape(-1, size)
        losses = level[groups].mean(1) + random.normal(0, 0.1, len(groups))
        one.fold(measurements(groups, losses))
        other.fold(measurements(groups, 1000 * losses + 50))
    assert other.values == pytest.approx(one.values, abs=1e-3)


def test_a_sample_that_was_skipped_compares_with_others():
    """Losses fall to a tenth while half of the samples are skipped: nobody's rank changes."""
    random = np.random.default_rng(2)
    level = random.permutation(np.linspace(0.5, 1.5, 2000))
    found = MeanExcess(2000)
    for epoch in range(10):
        served = random.permutation(2000)[: 2000 if epoch < 5 else 1000]
        losses = level[served] * 0.8**epoch * random.lognormal(0, 0.02, served.size)
        found.fold(measurements([[sample] for sample in served], losses))
    assert stats.spearmanr(found.values, level).statistic > 0.99


def test_finds_what_is_memorized_late():
    """Losses of wrong labels are high at first, and like all others from the middle on."""
    random = np.random.default_rng(3)
    is_wrong = np.arange(1000) % 10 == 0
    found = MeanExcess(1000)
    for epoch in range(20):
        order = random.permutation(1000)
        high = np.where(is_wrong[order], 2.0, 0.5) if epoch < 10 else np.full(1000, 0.01)
        found.fold(measurements([[i] for i in order], high * random.lognormal(0, 0.3, 1000)))
    assert found.values[is_wrong].min() > found.values[~is_wrong].max()


def test_first_epochs_that_tell_nothing_are_forgotten():
    """As with dropout in a model that has learned nothing: later epochs do not agree with them."""
    random = np.random.default_rng(7)
    level = random.normal(size=3000)
    found = MeanExcess(3000)
    for epoch in range(20):
        order = random.permutation(3000)
        losses = level[order] if epoch > 2 else np.zeros(3000)
        losses = losses + random.normal(0, 1, 3000)
        found.fold(measurements([[sample] for sample in order], losses))
    assert stats.spearmanr(found.values, level).statistic > 0.9


def test_one_diverged_epoch_does_not_outweigh_the_run():
    random = np.random.default_rng(4)
    level = np.linspace(0.5, 1.5, 1000)
    found = MeanExcess(1000)
    for epoch in range(8):
        order = random.permutation(1000)
        losses = level[order] * random.lognormal(0, 0.2, 1000)
        if epoch == 5:
            losses = random.lognormal(0, 5, 1000) * 1e6
        found.fold(measurements([[sample] for sample in order], losses))
    assert stats.spearmanr(found.values, level).statistic > 0.9


def test_batches_of_a_few_tell_nearly_as_much():
    random = np.random.default_rng(5)
    level = random.gamma(1.0, size=2000)
    found = MeanExcess(2000)
    for _ in range(20):
        groups = random.permutation(2000).reshape(-1, 4)
        found.fold(measurements(groups, level[groups].mean(1)))
    assert stats.spearmanr(found.values, level).statistic > 0.9


def test_nothing_is_told_by_one_batch_or_by_equal_losses():
    found = MeanExcess(10)
    found.fold(measurements([range(10)], [3.0]))
    found.fold(measurements([[i] for i in range(10)], [1.0] * 10))
    found.fold(Measurements.none())
    assert found.values.tolist() == [0.0] * 10


def test_new_samples_of_a_stream_start_without_excess():
    found = MeanExcess(2)
    found.fold(measurements([[0], [1]], [1.0, 2.0]))
    low, high = found.values.tolist()
    found.grow(np.array([2, 0]), 3)
    assert found.values.tolist() == [high, 0.0, low]


def test_goes_on_from_its_state():
    random = np.random.default_rng(6)
    one, other = MeanExcess(60), MeanExcess(60)
    for _ in range(5):
        batches = measurements(random.permutation(60).reshape(-1, 3), random.gamma(1, size=20))
        one.fold(batches)
        other.fold(batches)
        resumed = MeanExcess(60)
        resumed.load_state_dict(other.state_dict(), 60)
        other = resumed
        assert (other.values == one.values).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"errors": torch.zeros(3, dtype=torch.float16)}, "errors above 0"),
        ({"errors": torch.full((3,), 1.5, dtype=torch.float16)}, "at most 1"),
        ({"values": torch.tensor([0.0, math.inf, 0.0])}, "must be finite"),
        ({"values": torch.zeros(4)}, "mean_excess's values"),
        ({"num_epochs": 2}, "2 epochs, but a first spread of 0.0"),
        ({"precision": 1.0}, "0 epochs, but .* a precision of 1.0"),
        ({"num_epochs": -1}, "mean_excess's num_epochs"),
    ],
)
def test_a_damaged_state_says_what_is_wrong(change, message):
    state = MeanExcess(3).state_dict() | change
    with pytest.raises(RuntimeError, match=message):
        MeanExcess(3).load_state_dict(state, 3)


@pytest.mark.parametrize("make", [InfoBatch, NoPrune, RandomPrune])
def test_every_method_names_suspects(make):
    is_wrong = np.arange(200) % 20 == 0
    train = BLS(make(Numbers(200), 6)).proxy()
    train.track_samples()
    loader = DataLoader(train, batch_size=10)
    for _ in range(6):
        train_epoch(loader, lambda batch: sample_losses(batch) + 3 * (batch % 20 == 0))
    assert set(train.suspects(10).tolist()) == set(np.flatnonzero(is_wrong).tolist())
    assert sorted(train.suspects().tolist()) == list(range(200))


def test_samples_may_be_tracked_from_the_middle_of_a_run_on():
    train = SampleLoss(NoPrune(Numbers(40), 4)).proxy()
    loader = DataLoader(train, batch_size=10)
    train_epoch(loader, sample_losses)
    with pytest.raises(RuntimeError, match=r"does not track its samples: call NoPrune\.track_samp"):
        train.suspects()
    train.track_samples()
    train_epoch(loader, sample_losses)
    assert train.suspects(1).item() == int(sample_losses(torch.arange(40)).argmax())


def test_suspects_survive_a_checkpoint_in_the_middle_of_an_epoch():
    def run(resumes):
        train = SampleLoss(NoPrune(Numbers(60), 4, seed=3)).proxy()
        train.track_samples()
        train_epoch(DataLoader(train, batch_size=10), sample_losses)
        for step, batch in enumerate(DataLoader(train, batch_size=10)):
            train.update(sample_losses(batch))
            if step == 2 and resumes:
                state = train.state_dict()
                break
        if resumes:
            train = SampleLoss(NoPrune(Numbers(60), 4, seed=3)).proxy()
            train.load_state_dict(state)
            train_epoch(DataLoader(train, batch_size=10), sample_losses)
        return train.suspects().tolist()

    assert run(resumes=True) == run(resumes=False)


def test_tracking_changes_no_score_and_no_plan():
    def run(tracks):
        train = BLS(InfoBatch(Numbers(80), 4)).proxy()
        if tracks:
            train.track_samples()
        loader = DataLoader(train, batch_size=8)
        return [train_epoch(loader, mean_loss) for _ in range(4)], train.scores.tolist()

    assert run(True) == run(False)


def test_trimmed_loss_names_as_many_as_it_trims():
    train = SampleLoss(TrimmedLoss(Numbers(100), 8, trim=0.05)).proxy()
    loader = DataLoader(train, batch_size=10)
    for _ in range(2):  # all before it trims
        train_epoch(loader, lambda batch: sample_losses(batch) + 3 * (batch % 20 == 0))
    assert set(train.suspects().tolist()) == {0, 20, 40, 60, 80}
