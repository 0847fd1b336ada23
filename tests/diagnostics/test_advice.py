"""What follows from an audit, in words."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from audits import LOSSES, SCORES, SkipHighest, advice_on, looked_up, scored
from helpers import Numbers, with_scores
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from dynaprune import (
    BLS,
    DataLoader,
    InfoBatch,
    KalmanBLS,
    NoPrune,
    PrunedDataset,
    RandomPrune,
    SkipConverged,
    TrimmedLoss,
    audit,
)


def test_scores_that_order_the_samples():
    _, first, second, third = advice_on(SCORES, LOSSES).advice
    assert first.startswith("The scores order the samples by their losses, 0.")
    assert "the method skips easy samples, which random pruning does not" in second
    assert "TrimmedLoss would drop hard samples rather than wrong ones" in third


def test_scores_that_say_nothing():
    others = torch.from_numpy(np.random.default_rng(1).normal(size=400))
    _, first, second, _ = advice_on(others, LOSSES).advice
    assert first.startswith("The scores are as good as random")
    assert "losses are of single samples already" in first  # with_scores reports them so
    assert first.endswith("Or use RandomPrune, which needs no scores.")
    assert "as if drawn at random, so RandomPrune would do as well" in second


def test_scores_that_say_little():
    scores = LOSSES + torch.from_numpy(np.random.default_rng(1).normal(0, 6, size=400))
    found = advice_on(scores, LOSSES)
    assert 0 < found.correlation.low < found.correlation.value < 0.2
    assert "but weakly" in found.advice[1]


def test_scores_that_are_upside_down():
    _, first, second, _ = advice_on(-LOSSES, LOSSES).advice
    assert "against their losses" in first
    assert "the method skips hard samples" in second


@pytest.mark.parametrize(
    ("sign", "expected"),
    [(1, "the method skips hard samples"), (-1, "meant to skip hard samples, but skips easy")],
)
def test_methods_that_skip_the_highest(sign, expected):
    found = advice_on(sign * LOSSES, LOSSES, SkipHighest)
    assert (found.skipped_loss_ratio.value > 1) == (sign == 1)
    assert expected in found.advice[2]


@pytest.mark.parametrize(
    ("sign", "expected"), [(1, "are often there, and lose least"), (-1, "and lose most")]
)
def test_the_hardest_tenth_of_each_class(sign, expected):
    labels = np.arange(400) % 2
    found = advice_on(sign * LOSSES, LOSSES, labels=labels)
    assert found.hardest == 40
    assert (found.hardest_kept > found.would_keep) == (sign == 1)
    assert expected in found.advice[2]
    assert f"{found.hardest_kept:.1%} (of all samples: {found.would_keep:.1%})" in str(found)


def test_random_pruning_keeps_the_hardest_like_others():
    found = advice_on(LOSSES, LOSSES, RandomPrune)
    assert found.hardest == 40
    assert "hardest" not in found.advice[2]


def test_random_pruning_skips_at_random():
    sentence = advice_on(LOSSES, LOSSES, RandomPrune).advice[2]
    assert "they are drawn at random, as RandomPrune does" in sentence


def test_nothing_to_say():
    train = NoPrune(Numbers(400), num_epochs=3)
    (only,) = audit(train, nn.Identity(), looked_up).advice
    assert "train for an epoch first" in only
    (only,) = audit(scored(), nn.Identity(), looked_up, num_samples=3).advice
    assert "3 samples are too few" in only
    _, _, second, _ = advice_on(SCORES, LOSSES, NoPrune).advice
    assert "it skips none of the measured samples" in second
    waste, _, second, _ = advice_on(SCORES, LOSSES - 9).advice
    assert "losses are 0 or below" in second
    assert waste == "How many samples are learned was not judged: losses are 0 or below."


@pytest.mark.parametrize(
    ("learned", "expected"),
    [
        (0.8, "visits to them are wasted"),
        (0.4, "a small saving may be free"),
        (0.1, "a saving is likely to cost quality"),
    ],
)
def test_waste(learned, expected):
    losses = torch.ones(400, dtype=torch.float64) + torch.arange(400) / 1e6
    losses[: int(400 * learned)] /= 1e5
    found = advice_on(losses, losses)
    # what is learned, and of the others as many as hold the rest of the 5%
    assert found.learned_share == pytest.approx(learned + 0.05 * (1 - learned), abs=0.004)
    assert f"The {found.learned_share:.0%} of the samples with the lowest" in found.advice[0]
    assert expected in found.advice[0]
    assert "flat for half of the run, train for fewer epochs" in found.advice[0]
    assert ('otherwise try RandomPrune(saving="auto")' in found.advice[0]) == (learned > 0.3)


@pytest.mark.parametrize("rarest", [8, 100])
def test_rare_classes(rarest):
    labels = ["common"] * (400 - rarest) + ["rare"] * rarest
    found = advice_on(LOSSES, LOSSES, labels=labels)
    is_rare = rarest == 8
    assert found.class_sizes == (400 - rarest, rarest)
    assert ("class has 392 samples, the smallest 8. If all" in found.advice[0]) == is_rare
    assert "make up 5% of all loss" in found.advice[is_rare]
    assert len(found.advice) == 4 + is_rare
    assert re.search(
        f"the largest and the smallest class +{400 - rarest} and {rarest}\n", str(found)
    )


def test_rare_classes_where_nothing_else_can_be_said():
    labels = [0] * 392 + [1] * 8
    advice = advice_on(torch.ones(400), LOSSES, labels=labels).advice
    assert len(advice) == 2
    assert "the smallest 8" in advice[0]
    assert "All scores, or all losses, are equal" in advice[1]


@pytest.mark.parametrize(("classes", "count"), [(100, 500), (100, 1000), (1000, 5000)])
def test_chance_makes_no_rare_classes(classes, count):
    losses = torch.rand(count)
    for seed in range(5):
        labels = np.random.default_rng(seed).integers(classes, size=count)
        found = advice_on(losses, losses, labels=labels)
        largest, smallest = found.class_sizes
        assert largest / smallest > 3
        assert len(found.advice) == 4


def test_labels_at_hand():
    data = TensorDataset(torch.zeros(100, 1), torch.arange(100) % 50 // 40)  # 80 and 20
    train = with_scores(InfoBatch(data, num_epochs=10), torch.rand(100))
    found = audit(train, nn.Linear(1, 1), lambda model, batch: model(batch[0]).square().mean())
    assert found.class_sizes == (80, 20)


def test_labels_that_are_no_classes_or_not_known():
    assert advice_on(LOSSES, LOSSES, labels=torch.arange(400)).class_sizes is None
    assert advice_on(LOSSES, LOSSES, labels=torch.arange(400) // 2).class_sizes == (2, 2)
    found = advice_on(LOSSES, LOSSES)
    assert found.class_sizes is None
    assert "smallest class" in str(found)
    assert "not known; audit(..., labels=)" in str(found)


def test_labels_of_other_samples():
    with pytest.raises(ValueError, match=r"one per sample, shape \(400,\), but have shape \(3,\)"):
        advice_on(LOSSES, LOSSES, labels=[1, 2, 3])


def test_wrong_labels():
    losses = LOSSES / 5
    losses[::5] += 3
    found = advice_on(losses, losses)
    assert found.outlier_share == pytest.approx(0.2, abs=0.01)
    assert "About 20% of the samples" in found.advice[3]
    assert "TrimmedLoss(trim=0.20) may give a better model" in found.advice[3]
    found = advice_on(torch.from_numpy(np.random.default_rng(1).normal(size=400)), losses)
    assert "the scores do not tell which" in found.advice[3]


def test_what_is_printed():
    found = advice_on(SCORES, LOSSES)
    lines = str(found).splitlines()
    assert lines[0].startswith("true losses measured")
    assert lines[1].split("  ")[0] == "rank correlation of scores and true losses"
    assert lines[1].endswith(str(found.correlation))
    assert [line.startswith("- ") for line in lines] == [False] * 10 + [True] * 4
    assert "not known" in lines[2]  # the reliability, after one epoch


def advice_while(train: PrunedDataset, losses: Tensor = LOSSES, chunk: int = 8) -> str:
    """Return all advice on a run whose losses of batches say nothing of their samples."""
    draw = torch.Generator().manual_seed(0)
    for batch in DataLoader(train, batch_size=8):
        train.update(torch.rand(-(-len(batch) // chunk), generator=draw))
    found = audit(train, nn.Identity(), lambda model, batch: losses[batch].mean())
    return " ".join(found.advice)


def test_advice_does_not_name_what_is_in_use():
    data = Numbers(LOSSES.numel())
    plain = advice_while(BLS(InfoBatch(data, 10)).proxy())
    assert (
        "chunked(...) with fewer than the current 8 per loss, smaller batches or KalmanBLS in"
        in plain
    )
    assert "in place of BLS. Or use RandomPrune" in plain
    assert "KalmanBLS in place" not in advice_while(KalmanBLS(InfoBatch(data, 10)).proxy())
    sliced = advice_while(KalmanBLS(InfoBatch(data, 10)).proxy(), chunk=2)
    assert "chunked(...) with fewer than the current 2 per loss or smaller batches" in sliced
    random = advice_while(RandomPrune(data, 10))
    assert "RandomPrune does not read them" in random
    assert "use RandomPrune" not in random


def test_advice_on_a_budget_that_is_in_use():
    data = Numbers(LOSSES.numel())
    losses = torch.where(
        torch.arange(LOSSES.numel()) % 4 > 0, 1e-3, 1.0
    )  # three in four are learned
    assert 'otherwise try RandomPrune(saving="auto")' in advice_while(
        InfoBatch(data, 10), losses, chunk=1
    )
    budget = advice_while(InfoBatch(data, 10, saving=0.35), losses, chunk=1)
    assert 'saving="auto"' not in budget
    assert "compare saving=0.35, which is in use, with RandomPrune and fewer epochs" in budget
    random = advice_while(RandomPrune(data, 10, saving=0.35), losses, chunk=1)
    assert "compare saving=0.35, which is in use, with fewer epochs" in random
    auto = advice_while(RandomPrune(data, 10, saving="auto"), losses, chunk=1)
    assert 'keep saving="auto", and compare it with fewer epochs' in auto
    converged = advice_while(SkipConverged(data, 10), losses, chunk=1)
    assert "or SkipConverged" not in converged
    assert "keep SkipConverged" in converged


def test_advice_on_labels_where_trimming_is_in_use():
    data = Numbers(LOSSES.numel())
    trimming = advice_while(TrimmedLoss(data, 10, trim=0.1), chunk=1)
    assert "TrimmedLoss, which is in use, drops hard samples" in trimming


def test_what_a_loss_is_of_is_known_after_resuming():
    data = Numbers(64)
    train = BLS(InfoBatch(data, 10)).proxy()
    for batch in DataLoader(train, batch_size=8):
        train.update(torch.ones(4) * len(batch))
    train.end_epoch()
    resumed = BLS(InfoBatch(data, 10)).proxy()
    resumed.load_state_dict(train.state_dict())
    assert resumed.epochs.latest_score().samples_a_loss == 2
