"""LossProportional by its formula, and its corrected weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import Numbers

from dynaprune import BLS, DataLoader, SampleLoss
from dynaprune.methods import LossProportional, RandomPrune
from dynaprune.utils.rng import epoch_generator

TOTAL, KEPT, DRAWS = 30, 10, 6000
SCORES = torch.arange(1, TOTAL + 1).float()
SEEN = torch.ones(TOTAL, dtype=torch.int32)
TWO_IN_THREE = 2 / 3


def served(train, scores, visits=SEEN):
    """Return how often each sample is kept, as a share of many draws, and the weights if kept."""
    counts, weights = np.zeros(scores.numel()), np.zeros(scores.numel())
    for seed in range(DRAWS):
        kept = train.select(scores, 1, epoch_generator(seed, 1), visits=visits)
        assert kept.indices.numel() == KEPT
        counts[kept.indices.numpy()] += 1
        if kept.weights is not None:
            assert float(kept.weights.mean()) == pytest.approx(1, rel=1e-5)
            weights[kept.indices.numpy()] += kept.weights.numpy()
    return counts / DRAWS, weights / DRAWS


def assert_close(shares, chances):
    deviation = np.sqrt(chances * (1 - chances) / DRAWS)
    assert (abs(shares - chances) <= 5 * deviation + 1e-9).all()


def chances_of(sizes):
    chances = KEPT * sizes / sizes.sum()
    assert chances.max() < 1
    return chances


@pytest.mark.parametrize(("power", "floor"), [(0.5, 0.3), (1, 1), (1, 0.1), (0, 0)])
def test_chances_are_the_formula(power, floor):
    train = LossProportional(Numbers(TOTAL), 10, saving=TWO_IN_THREE, power=power, floor=floor)
    powers = SCORES.double().numpy() ** power
    assert_close(served(train, SCORES)[0], chances_of(powers + floor * powers.mean()))


def test_samples_never_measured_count_as_the_mean_of_the_others():
    visits, scores = SEEN.clone(), SCORES.clone()
    visits[::3] = 0
    scores[::3] = 1e6  # their score means nothing, and is in no mean
    powers = scores.double().numpy() ** 0.5
    powers[::3] = np.delete(powers, slice(None, None, 3)).mean()
    train = LossProportional(Numbers(TOTAL), 10, saving=TWO_IN_THREE)
    assert_close(served(train, scores, visits)[0], chances_of(powers + 0.3 * powers.mean()))


def test_chances_above_one_are_certain_and_the_others_keep_their_proportions():
    scores = torch.cat([torch.full((3,), 1e4), torch.arange(1.0, TOTAL - 2)])
    train = LossProportional(Numbers(TOTAL), 10, saving=TWO_IN_THREE, power=1, floor=0)
    shares, _ = served(train, scores)
    assert (shares[:3] == 1).all()
    rest = scores[3:].double().numpy()
    assert_close(shares[3:], (KEPT - 3) * rest / rest.sum())


@pytest.mark.parametrize("correction", [0.5, 1])
def test_weights_are_a_power_of_the_chances(correction):
    train = LossProportional(Numbers(TOTAL), 10, saving=TWO_IN_THREE, correction=correction)
    powers = SCORES.double().numpy() ** 0.5
    wanted = chances_of(powers + 0.3 * powers.mean()) ** -correction
    kept = train.select(SCORES, 1, epoch_generator(0, 1), visits=SEEN)
    weights, wanted = kept.weights.double().numpy(), wanted[kept.indices.numpy()]
    assert weights == pytest.approx(wanted / wanted.mean(), rel=1e-5)


def test_a_full_correction_gives_all_samples_the_same_part_in_a_mean():
    """The mean weighted loss estimates the mean of all, though high losses are kept more often."""
    train = LossProportional(Numbers(TOTAL), 10, saving=TWO_IN_THREE, correction=1)
    means = []
    for seed in range(DRAWS):
        kept = train.select(SCORES, 1, epoch_generator(seed, 1), visits=SEEN)
        means.append(float((kept.weights * SCORES[kept.indices.long()]).mean()))
    plain = LossProportional(Numbers(TOTAL), 10, saving=TWO_IN_THREE)
    shares, _ = served(plain, SCORES)
    uncorrected = float((shares * SCORES.numpy()).sum() / KEPT)
    # a ratio of two estimates has a bias, of a few percent with ten samples
    assert np.mean(means) == pytest.approx(float(SCORES.mean()), rel=0.03)
    assert uncorrected > 1.1 * float(SCORES.mean())


@pytest.mark.parametrize("scores", [torch.zeros(TOTAL), torch.full((TOTAL,), 2.5)])
@pytest.mark.parametrize("correction", [0.0, 1.0])
def test_equal_scores_have_equal_chances_and_weights(scores, correction):
    train = LossProportional(Numbers(TOTAL), 10, saving=TWO_IN_THREE, correction=correction)
    shares, weights = served(train, scores)
    assert_close(shares, np.full(TOTAL, 1 / 3))
    if correction > 0:
        assert weights == pytest.approx(shares, rel=1e-5)


def test_without_a_floor_samples_without_loss_are_kept_only_to_fill_the_epoch():
    scores = torch.zeros(TOTAL)
    scores[:4] = torch.tensor([1e-30, 1.0, 5.0, 1e30])
    train = LossProportional(Numbers(TOTAL), 10, saving=TWO_IN_THREE, power=0.1, floor=0)
    shares, _ = served(train, scores)
    assert (shares[:4] == 1).all()
    assert_close(shares[4:], np.full(TOTAL - 4, (KEPT - 4) / (TOTAL - 4)))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 50.0])
def test_losses_of_any_size_can_be_drawn_from(power):
    highest = float(np.finfo(np.float32).max)
    scores = torch.tensor([0.0, 1e-45, 1e-38, 1.0, 1e30, highest])
    train = LossProportional(Numbers(6), 10, power=power, correction=1)
    kept = train.select(scores, 1, epoch_generator(0, 1), visits=torch.ones(6, dtype=torch.int32))
    assert kept.indices.numel() == 3
    assert float(kept.weights.mean()) == pytest.approx(1)
    assert kept.weights.isfinite().all()


def test_losses_below_0_are_refused():
    loader = DataLoader(train := LossProportional(Numbers(20), 10), batch_size=5)
    for batch in loader:
        train.update(batch.float() - 30)
    with pytest.raises(RuntimeError, match=r"but a score of -\d+ was found: add a constant"):
        len(loader)


def test_epochs_visit_high_losses_more():
    losses = torch.where(torch.arange(400) % 20 == 0, 100.0, 1.0)
    train = SampleLoss(LossProportional(Numbers(400), 40, power=1)).proxy()
    uniform = BLS(RandomPrune(Numbers(400), 40)).proxy()
    visits = {}
    for each in (train, uniform):
        for _ in range(40):
            for indices in each.batches(50):
                each.update(losses[indices] if each is train else losses[indices].mean())
                visits.setdefault(each is train, torch.zeros(400))[indices] += 1
    assert visits[True].sum() == visits[False].sum() == 40 * 200
    assert visits[True][::20].mean() > 36  # certain, once its loss is known
    assert visits[False][::20].mean() == pytest.approx(20, abs=4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"power": -0.5}, "power must be finite and at least 0, but -0.5 was given"),
        ({"floor": -1}, "floor must be finite and at least 0, but -1 was given"),
        ({"correction": 1.5}, r"correction must be in \[0, 1\], but 1.5 was given"),
        ({"saving": 1}, r"saving must be in \[0, 1\), but 1 was given"),
    ],
)
def test_arguments_outside_their_range(given, message):
    with pytest.raises(ValueError, match=message):
        LossProportional(Numbers(10), 5, **given)
