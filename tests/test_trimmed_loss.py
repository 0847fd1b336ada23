"""TrimmedLoss by its description, and the share of outliers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, train_epoch, with_scores

from dynaprune import DataLoader, TrimmedLoss
from dynaprune.methods.outliers import share_of_outliers
from dynaprune.plan import epoch_generator


def select(train, scores, epoch=5, seed=0, errors=None):
    return train.select(scores, epoch, epoch_generator(seed, epoch), errors=errors)


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
    message = r"saving=0.8 cannot be reached: 2 of 10 .* start=0.2\), .* at most 90 of 100 .* 0.720"
    with pytest.raises(ValueError, match=message):
        TrimmedLoss(Numbers(100), 10, saving=0.8, start=0.2)
    assert TrimmedLoss(Numbers(100), 10, saving=0.72, start=0.2).saving == 0.72


def test_auto_trims_as_many_as_stand_out():
    scores = torch.where(torch.arange(400) % 20 == 0, 3.0, 0.1)
    skipped = skipped_of(TrimmedLoss(Numbers(400), 10, refresh=0.0), scores)
    assert skipped == set(range(0, 400, 20))


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


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.49])
@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e25])
def test_share_of_outliers_of_two_points(share, scale):
    count = round(share * 10_000)
    scores = torch.tensor([0.2] * (10_000 - count) + [1.7] * count) * scale
    assert share_of_outliers(scores) == pytest.approx(share, abs=1e-5)


def test_share_of_outliers_with_known_errors():
    """Noise widens the distribution; known errors are taken off."""
    random = np.random.default_rng(0)
    truth = np.where(np.arange(200_000) < 20_000, 2.0, 0.0)
    scores = torch.from_numpy(truth + random.normal(size=200_000)).float()
    errors = torch.ones(200_000)
    assert share_of_outliers(scores, errors) == pytest.approx(0.1, abs=0.02)
    assert share_of_outliers(scores) > 0.2


@pytest.mark.parametrize(
    "scores", [[1.0] * 7, [3.0], [0.0, 1.0], [1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 2.0]]
)
def test_no_share_stands_out(scores):
    assert share_of_outliers(torch.tensor(scores)) == 0.0
