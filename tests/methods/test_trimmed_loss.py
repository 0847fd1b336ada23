"""TrimmedLoss by its description, and the share of outliers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, train_epoch, with_scores
from scipy import stats

from dynaprune import DataLoader, KalmanBLS, SampleLoss, TrimmedLoss
from dynaprune.scores.loss_moments import Moments
from dynaprune.scores.loss_shape import LossShape, share_of_outliers
from dynaprune.utils.rng import epoch_generator


def select(train, scores, epoch=5, seed=0):
    return train.select(scores, epoch, epoch_generator(seed, epoch))


def skipped_of(train, scores, **given):
    selection = select(train, scores, **given)
    assert selection.weights is None
    return set(range(scores.numel())) - set(selection.indices.tolist())


def test_the_highest_scores_are_skipped_but_for_a_few():
    scores = torch.randperm(200).float()
    train = TrimmedLoss(Numbers(200), 10, trim=0.2)
    worst = {i for i in range(200) if scores[i] >= 160}
    skipped = [skipped_of(train, scores, seed=seed) for seed in range(60)]
    assert all(each <= worst and len(each) == 40 - 4 for each in skipped)
    refreshed = np.bincount([i for each in skipped for i in worst - each], minlength=200)
    assert (refreshed[sorted(worst)] > 0).all()  # a tenth of 60 draws: never with odds of 0.2%


@pytest.mark.parametrize(
    ("num_epochs", "start", "first"),
    [(20, 0.25, 5), (30, 0.25, 8), (100, 0.55, 55), (10, 0.0, 1), (10, 1.0, 10), (1, 0.0, 1)],
)
def test_first_epochs_train_on_everything(num_epochs, start, first):
    """From ⌈start · E⌉ on, but never in the epoch before which nothing was measured."""
    train = TrimmedLoss(Numbers(50), num_epochs, trim=0.2, start=start)
    scores = torch.arange(50.0)
    is_full = [not skipped_of(train, scores, epoch=epoch) for epoch in range(num_epochs + 2)]
    assert is_full == [epoch < first for epoch in range(num_epochs + 2)]


@pytest.mark.parametrize("saving", [0.0, 0.07, 0.3, 0.6])
@pytest.mark.parametrize("refresh", [0.0, 0.1, 0.3])
def test_saving_is_met_exactly(saving, refresh):
    train = TrimmedLoss(Numbers(97), 30, saving=saving, start=0.1, refresh=refresh)
    skipped = [len(skipped_of(train, torch.rand(97), epoch=epoch)) for epoch in range(30)]
    assert sum(skipped) == round(saving * 97 * 30)
    assert skipped[:3] == [0, 0, 0]
    assert max(skipped[3:]) - min(skipped[3:]) <= 1


def test_saving_leaves_the_share_that_is_refreshed():
    scores = torch.arange(100.0)
    train = TrimmedLoss(Numbers(100), 10, saving=0.36, start=0.2, refresh=0.1)
    skipped = [skipped_of(train, scores, seed=seed) for seed in range(50)]
    assert all(len(each) == 45 for each in skipped)  # 360 of 1,000 visits in eight epochs
    assert set.union(*skipped) == set(range(50, 100))  # 45 is 90% of 50


def test_saving_that_cannot_be_reached_says_what_can():
    message = r"saving=0.8 cannot be reached: 2 of 10 .* start=0.2\), .* at most 90.0% .* 0.720"
    with pytest.raises(ValueError, match=message):
        TrimmedLoss(Numbers(100), 10, saving=0.8, start=0.2)
    assert TrimmedLoss(Numbers(100), 10, saving=0.72, start=0.2).saving == 0.72


def losses_of_two_kinds(wrong: float, count: int = 4000) -> np.ndarray:
    """Gamma-distributed losses, and a share of samples whose losses are higher by far."""
    random = np.random.default_rng(0)
    losses = random.gamma(2.0, 0.15, size=count)
    chosen = random.permutation(count)[: round(wrong * count)]
    losses[chosen] = random.normal(3.0, 0.4, size=chosen.size)
    return losses


@pytest.mark.parametrize("batch_size", [1, 8, 32])
@pytest.mark.parametrize("wrong", [0.0, 0.2, 0.4])
def test_auto_trims_what_is_of_another_kind_and_nothing_else(batch_size, wrong):
    losses = torch.from_numpy(losses_of_two_kinds(wrong)).float()
    train = KalmanBLS(TrimmedLoss(Numbers(4000), 8, start=0.5)).proxy()
    loader = DataLoader(train, batch_size=batch_size)
    for _ in range(4):
        train_epoch(loader, lambda batch: losses[batch].mean())
    skipped = 1 - len(train.sampler) / 4000
    if batch_size < 32:
        assert skipped == pytest.approx(0.9 * wrong, abs=0.05)
    else:  # 125 measurements an epoch are few: less is trimmed, or nothing
        assert 0 <= skipped <= 0.9 * wrong + 0.1
    assert skipped == 0 or wrong > 0


@pytest.mark.parametrize("drops", [False, True])
def test_auto_takes_epochs_that_lack_a_tail_or_a_loss(drops):
    losses = torch.from_numpy(losses_of_two_kinds(0.3, 4001)).float()
    losses[7] = math.nan
    train = KalmanBLS(TrimmedLoss(Numbers(4001), 8, start=0.5)).proxy()
    loader = DataLoader(train, batch_size=8, drop_last=drops)
    for _ in range(4):
        train_epoch(loader, lambda batch: losses[batch].mean())
    assert 1 - len(train.sampler) / 4001 == pytest.approx(0.27, abs=0.06)


@pytest.mark.parametrize(
    "draw",
    [
        lambda random: random.uniform(0, 2, 5000),
        lambda random: random.normal(1, 0.3, 5000),
        lambda random: random.exponential(1, 5000),
        lambda random: random.lognormal(0, 1, 5000),
    ],
    ids=["uniform", "normal", "exponential", "lognormal"],
)
@pytest.mark.parametrize("seed", range(4))
def test_auto_trims_nothing_where_one_kind_explains_the_losses(draw, seed):
    losses = torch.from_numpy(draw(np.random.default_rng(seed))).float()
    train = KalmanBLS(TrimmedLoss(Numbers(5000), 12, seed=seed)).proxy()
    loader = DataLoader(train, batch_size=100)
    for _ in range(5):
        train_epoch(loader, lambda batch: losses[batch].mean())
    assert len(train.sampler) > 4900


def test_auto_keeps_to_what_was_found_before_trimming_began():
    losses = torch.from_numpy(losses_of_two_kinds(0.3)).float()
    train = SampleLoss(TrimmedLoss(Numbers(4000), 8)).proxy()
    loader = DataLoader(train, batch_size=100)
    lengths = []
    for _ in range(6):
        lengths.append(sum(map(len, train_epoch(loader, lambda batch: losses[batch]))))
    assert lengths[:2] == [4000, 4000]
    assert lengths[2:] == [lengths[2]] * 4
    assert lengths[2] == pytest.approx(4000 * (1 - 0.9 * 0.3), abs=100)


def test_auto_trims_nothing_where_scores_are_equal():
    assert skipped_of(TrimmedLoss(Numbers(400), 10), torch.full((400,), 0.7)) == set()


def test_a_run_trims_and_looks_again():
    """A sample that was trimmed and then learned is served again."""
    train = bls(lambda *given, **more: TrimmedLoss(*given, trim=0.1, start=0.2, **more), 50)
    loader = DataLoader(train, batch_size=1)
    bad = torch.arange(50) < 5
    for _ in range(2):
        train_epoch(loader, lambda batch: bad[batch].float().mean())
    assert set(train.suspects().tolist()) == {0, 1, 2, 3, 4}
    served = {i for batch in train_epoch(loader, lambda b: bad[b].float().mean()) for i in batch}
    assert served == set(range(50)) - set(train.suspects().tolist())


def test_suspects_come_in_order():
    scores = torch.tensor([0.2, 3.0, 0.1, 5.0, 4.0, 0.3, 0.25, 0.15, 0.0, 0.05])
    train = with_scores(TrimmedLoss(Numbers(10), 10, trim=0.3), scores)
    assert train.suspects().tolist() == [3, 4, 1]
    assert train.suspects().dtype == torch.int64
    assert train.suspects(5).tolist() == [3, 4, 1, 5, 6]
    assert train.suspects(0).tolist() == []
    assert sorted(train.suspects(10).tolist()) == list(range(10))


def test_suspects_with_equal_scores_are_in_random_order():
    scores = torch.cat([torch.zeros(50), torch.ones(50)])
    orders = {
        tuple(with_scores(TrimmedLoss(Numbers(100), 9, seed=seed), scores).suspects(20).tolist())
        for seed in range(10)
    }
    assert len({order[0] for order in orders}) > 3
    assert all(min(order) >= 50 for order in orders)


def test_suspects_after_a_run_with_saving():
    """The last epoch's number, and not none because the run is over."""
    train = with_scores(TrimmedLoss(Numbers(100), 2, saving=0.09, start=0.5), torch.rand(100))
    train.begin_epoch()
    train.update(torch.rand(10), indices=torch.arange(10))
    train.end_epoch()
    assert train.epoch == 2
    assert train.suspects().tolist() == train.scores.argsort(descending=True)[:20].tolist()


def test_suspects_that_cannot_be_named():
    train = TrimmedLoss(Numbers(10), 5)
    with pytest.raises(RuntimeError, match="all scores are equal: train for some epochs first"):
        train.suspects()
    train = with_scores(train, torch.arange(10.0))
    with pytest.raises(ValueError, match="count must be at most 10, the samples, but 11 was given"):
        train.suspects(11)
    with pytest.raises(ValueError, match="count must be at least 0, but -1 was given"):
        train.suspects(-1)


@pytest.mark.parametrize("share", [0.15, 0.3, 0.45])
def test_share_of_outliers_of_two_points(share):
    # losses of 0 and 1
    variation, skewness = (1 - share) / share, (1 - 2 * share) / math.sqrt(share * (1 - share))
    shape = LossShape(math.sqrt(variation), skewness)
    assert share_of_outliers(shape) == pytest.approx(share)


@pytest.mark.parametrize("form", [0.3, 1.0, 2.0, 9.0])
def test_a_gamma_distribution_has_no_outliers(form):
    skewness = float(stats.gamma(form).stats("s"))
    assert share_of_outliers(LossShape(stats.gamma(form).std() / form, skewness)) == 0.0


@pytest.mark.parametrize(
    ("variation", "skewness"),
    [(0.5, -1.0), (-0.5, 0.5), (0.08, 0.05), (0.0, 0.0)],  # more than half; a mean below 0; alike
)
def test_no_outliers_where_nothing_can_be_told(variation, skewness):
    assert share_of_outliers(LossShape(variation, skewness)) == 0.0


def test_auto_waits_for_a_share_that_counts():
    """A share that is small at first would stay, since what is trimmed is missing then."""
    random = np.random.default_rng(0)
    train = SampleLoss(TrimmedLoss(Numbers(4000), 10, start=0.2)).proxy()
    few, many = LossShape(1.0, 1.43), LossShape(1.0, 1.415)
    assert 0.04 < share_of_outliers(few) < 0.05 < share_of_outliers(many) < 0.06
    scores = torch.from_numpy(random.gamma(1.0, size=4000)).float()
    kept = [
        train.select(scores, 4, torch.Generator().manual_seed(0), shape=shape).indices.numel()
        for shape in (few, many)
    ]
    assert kept[0] == 4000
    assert kept[1] == pytest.approx(4000 * (1 - 0.9 * share_of_outliers(many)), abs=2)


def test_epochs_in_which_losses_fall_say_nothing():
    random = np.random.default_rng(1)
    right = random.gamma(0.5, 2.0, size=20_000)
    early = 2.3 + random.normal(0, 0.6, size=20_000)  # symmetric, as before anything is learned
    with_early, without = Moments(), Moments()
    for losses in (early, 0.8 * early, right, right):
        batches = random.permutation(losses).astype(np.float32).reshape(-1, 8).mean(1)
        with_early.add(np.full(batches.size, 8), batches)
    for losses in (right, right):
        batches = random.permutation(losses).astype(np.float32).reshape(-1, 8).mean(1)
        assert without.shape is None
        without.add(np.full(batches.size, 8), batches)
    assert with_early.shape.skewness == pytest.approx(without.shape.skewness, rel=0.15)
    assert with_early.shape.skewness == pytest.approx(stats.skew(right), rel=0.15)
    assert share_of_outliers(with_early.shape) == 0.0


@pytest.mark.parametrize(("fall", "counts"), [(0.97, False), (0.99, True), (1.5, True)])
def test_an_epoch_counts_where_losses_fell_by_less_than_two_percent(fall, counts):
    losses = np.random.default_rng(0).gamma(1.0, size=400).astype(np.float32)
    moments = Moments()
    for scale in (1.0, fall):
        moments.add(np.full(400, 4), losses * np.float32(scale))
    assert (moments.shape is not None) == counts


def test_an_epoch_is_held_against_the_one_before_it():
    losses = np.random.default_rng(0).gamma(1.0, size=400).astype(np.float32)
    moments = Moments()
    for scale in (1.0, 2.0, 1.9):  # still above the first one, but falling
        moments.add(np.full(400, 4), losses * np.float32(scale))
    once = Moments()
    for scale in (1.0, 2.0):
        once.add(np.full(400, 4), losses * np.float32(scale))
    assert moments.shape == once.shape


def test_an_epoch_that_was_left_early_says_nothing():
    losses = torch.from_numpy(np.random.default_rng(0).gamma(1.0, size=400)).float()
    shapes = []
    for leaves in (False, True):
        train = KalmanBLS(TrimmedLoss(Numbers(400), 8, start=1.0)).proxy()
        loader = DataLoader(train, batch_size=4)
        train_epoch(loader, lambda batch: losses[batch].mean())
        if leaves:
            for batch in loader:
                train.update(losses[batch].mean() + 9)
                break
            train.end_epoch()
        train_epoch(loader, lambda batch: losses[batch].mean())
        shapes.append(train.epochs.latest_score().extras(["shape"])["shape"])
    assert None not in shapes


def test_moments_go_on_from_their_state():
    random = np.random.default_rng(2)
    one, other = Moments(), Moments()
    for part in range(4):
        values = random.gamma(1.0, size=500).astype(np.float32) + (part == 0)
        one.add(np.full(500, 4), values)
        other.add(np.full(500, 4), values)
        resumed = Moments()
        resumed.restore(other.state())
        other = resumed
        assert other.shape == one.shape
    assert one.shape is not None


@pytest.mark.parametrize("batch_size", [1, 7, 20])
def test_moments_of_samples_are_told_from_batches(batch_size):
    random = np.random.default_rng(1)
    losses = random.gamma(1.5, 2.0, size=70_000)
    moments = Moments()
    assert moments.shape is None
    for _ in range(4):
        batches = random.permutation(losses)[: 70_000 // batch_size * batch_size]
        means = batches.reshape(-1, batch_size).mean(1).astype(np.float32)
        moments.add(np.full(means.size, batch_size), means)
    assert moments.shape.variation == pytest.approx(losses.std() / losses.mean(), rel=0.03)
    assert moments.shape.skewness == pytest.approx(stats.skew(losses), abs=0.25)
