"""`audit`: scores compared with true losses, what follows from it, and the command."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from audits import LOSSES, SCORES, SkipHighest, advice_on, looked_up, scored
from helpers import Numbers, bls, mean_loss, set_current, train_epoch, with_scores
from ranks import on_ranks
from scipy import stats
from streams import stream_of
from torch import Tensor, nn

from dynaprune import (
    DataLoader,
    InfoBatch,
    Selection,
    audit,
)

# Numbers


def test_all_numbers_of_constructed_scores_and_losses():
    train = scored()
    found = audit(train, nn.Identity(), looked_up, num_samples=10_000)
    losses, scores = LOSSES.numpy(), train.scores.double().numpy()
    assert found.indices.tolist() == list(range(400))
    np.testing.assert_array_equal(found.losses, losses)
    assert (found.num_samples, found.left_out) == (400, 0)
    assert found.correlation.value == pytest.approx(stats.spearmanr(scores, losses).statistic)
    below = scores < scores.mean()
    is_low = losses < losses.mean()
    assert found.precision == pytest.approx((below & is_low).sum() / below.sum())
    assert found.base_rate == pytest.approx(is_low.mean())
    assert math.isnan(found.reliability)  # after one epoch
    assert found.saved_share == 0
    # what the next epoch then really serves
    served = np.array(list(train.sampler))
    assert found.kept_share == served.size / 400
    assert 0.5 < found.kept_share < 0.8
    skipped = np.setdiff1d(np.arange(400), served)
    ratio = found.skipped_loss_ratio
    assert ratio.value == pytest.approx(losses[skipped].mean() / losses.mean())
    assert ratio.low < ratio.value < ratio.high < 1
    assert found.planned_epoch == 1
    assert not found.skips_highest


def test_a_subset_is_drawn_uniformly_and_by_the_seed():
    train = scored()

    def indices(seed: int) -> list[int]:
        found = audit(train, nn.Identity(), looked_up, num_samples=40, seed=seed)
        np.testing.assert_array_equal(found.losses, LOSSES.numpy()[found.indices])
        return found.indices.tolist()

    counts = np.bincount(np.concatenate([indices(seed) for seed in range(60)]), minlength=400)
    assert counts.sum() == 60 * 40
    # binomial(60, 0.1), less what drawing without replacement takes off the variance
    assert stats.chi2.cdf(((counts - 6) ** 2 / (6 * 0.9)).sum() * 399 / 400, 399) < 0.999
    assert indices(3) == indices(3) != indices(4)


@pytest.mark.parametrize(("delta", "planned"), [(0.75, 4), (0.5, 1)])
def test_another_epoch_is_planned_where_the_coming_one_skips_nothing(delta, planned):
    train = with_scores(InfoBatch(Numbers(400), num_epochs=8, delta=delta), SCORES.float())
    for _ in range(6):  # epochs 6 and 7, or 4 to 7, train on everything
        train.begin_epoch()
        train.update(SCORES.float(), indices=torch.arange(400))
        train.end_epoch()
    assert train.epoch == 7
    found = audit(train, nn.Identity(), looked_up)
    assert (found.kept_share, found.planned_epoch) == (1, planned)
    assert found.skipped_loss_ratio.high < 1


def test_the_last_epoch_is_planned_where_the_method_has_not_begun_yet():
    class SkipInTheEnd(SkipHighest):
        def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
            half = super().select(scores, epoch, generator)
            return half if epoch >= 7 else Selection(torch.arange(scores.numel()))

    found = advice_on(LOSSES, LOSSES, SkipInTheEnd)
    assert (found.kept_share, found.planned_epoch) == (1, 9)
    low = LOSSES.sort().values[:200]
    expected = (LOSSES.sum() - low.sum()) / 200 / LOSSES.mean()
    assert found.skipped_loss_ratio.value == pytest.approx(float(expected))


def test_in_the_middle_of_an_epoch_with_the_scores_as_known():
    train = InfoBatch(Numbers(400), num_epochs=10)
    train.begin_epoch()
    set_current(train, range(300), LOSSES[:300].float())
    found = audit(train, nn.Identity(), looked_up)
    first = stats.spearmanr(train.scores.numpy()[:300], LOSSES.numpy()[:300]).statistic
    assert first == pytest.approx(1, abs=1e-6)
    expected = stats.spearmanr(train.scores.numpy(), LOSSES.numpy()).statistic
    assert found.correlation.value == pytest.approx(expected)
    assert found.planned_epoch == 1
    assert train.epoch == 0


def test_the_reliability_is_beside_the_correlation():
    train = bls(InfoBatch)
    loader = DataLoader(train, batch_size=5)
    for _ in range(4):
        train_epoch(loader, mean_loss)
    found = audit(train, nn.Identity(), lambda model, batch: mean_loss(batch))
    assert found.reliability == train.reliability
    assert found.saved_share == train.summary().share_saved > 0


# Nothing is changed


@pytest.mark.parametrize("stop_after", [None, 4])
def test_a_run_is_the_same_with_audits(stop_after):
    def served(audited: bool) -> list[Any]:
        train = bls(InfoBatch, length=120)
        loader = DataLoader(train, batch_size=10)
        found = []
        for _ in range(6):
            for step, batch in enumerate(loader):
                found.append(batch.tolist())
                if audited and step == stop_after:
                    audit(train, nn.Identity(), looked_up, num_samples=9)
                train.update(mean_loss(batch))
            if audited:
                audit(train, nn.Identity(), looked_up, num_samples=9)
            found.append(train.summary().visits_made)
        return [found, train.scores.tolist(), train.epoch]

    assert served(audited=True) == served(audited=False)


def test_a_stream():
    train = InfoBatch(stream_of([]), num_epochs=3)
    with pytest.raises(RuntimeError, match=r"have keys and no indices: read train\.reliability"):
        audit(train, nn.Identity(), looked_up)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_samples": 0}, ValueError, "num_samples must be at least 1, but 0 was given"),
        ({"repeats": 0}, ValueError, "repeats must be at least 1"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"train": Numbers(3)}, TypeError, "train must be a PrunedDataset, but a Numbers"),
        ({"model": 3}, TypeError, "model must be a Module, but a int was given"),
        ({"loss_fn": 3}, TypeError, r"loss_fn must be a function, called as loss_fn\(model, batch"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        audit(**{"train": scored(), "model": nn.Identity(), "loss_fn": looked_up} | arguments)


def test_next_selection_of_an_epoch_below_0():
    with pytest.raises(ValueError, match="epoch must be at least 0"):
        scored().next_selection(-1)


# Several ranks


def one_rank_audits(rank: int) -> Any:
    """The batch norm of a `DistributedDataParallel` would wait for the other rank."""
    model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1)))
    train = scored()
    if rank == 1:
        return None
    found = audit(train, model, lambda given, batch: given(batch.float()[:, None]).square().mean())
    return found.num_samples, model.training


def test_one_rank_alone():
    assert on_ranks(2, one_rank_audits) == [(400, True), None]
