"""`audit`: scores held against true losses, what follows from it, and the command."""

from __future__ import annotations

import math
import random
import re
from collections import namedtuple
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, mean_loss, set_current, train_epoch, with_scores
from ranks import on_ranks
from scipy import stats
from streams import stream_of
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

from dynaprune import (
    BLS,
    Audit,
    DataLoader,
    InfoBatch,
    KalmanBLS,
    NoPrune,
    PrunedDataset,
    RandomPrune,
    Selection,
    SkipConverged,
    TrimmedLoss,
    audit,
    save_checkpoint,
)
from dynaprune.cli.app import app
from dynaprune.diagnostics.estimates import rank_correlation, ratio_of_means
from dynaprune.utils.devices import to_device

RANDOM = np.random.default_rng(0)
LOSSES = torch.from_numpy(RANDOM.gamma(1.0, size=400))
SCORES = LOSSES + torch.from_numpy(RANDOM.normal(0, 1, size=400))


def looked_up(model: Any, batch: Tensor) -> Tensor:
    """Return the loss of a batch of `Numbers`, from a table."""
    return LOSSES[batch].mean()


def scored(scores: Tensor = SCORES, num_epochs: int = 10) -> PrunedDataset:
    return with_scores(InfoBatch(Numbers(scores.numel()), num_epochs), scores.float())


class SkipHighest(PrunedDataset):
    """Skips the higher half, in all epochs."""

    skips_highest: ClassVar[bool] = True

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        return Selection(scores.argsort()[: scores.numel() // 2])


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


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_that_of_a_textbook(ties):
    first, second = SCORES.numpy(), LOSSES.numpy()
    if ties:
        first, second = first.round(), second.round()
    found = rank_correlation(first, second)
    r = stats.spearmanr(first, second).statistic
    assert found.value == pytest.approx(r, abs=1e-12)
    reach = stats.norm.ppf(0.975) * math.sqrt((1 + r**2 / 2) / 397)
    assert found.low == pytest.approx(math.tanh(math.atanh(r) - reach))
    assert found.high == pytest.approx(math.tanh(math.atanh(r) + reach))


@pytest.mark.parametrize("sign", [1, -1])
def test_rank_correlation_of_the_same_order(sign):
    found = rank_correlation(np.arange(9.0), sign * np.arange(9.0) ** 3)
    assert (found.value, found.low, found.high) == (sign, sign, sign)


def test_rank_correlation_that_is_not_known():
    nothing = rank_correlation(np.ones(9), np.arange(9.0))
    assert math.isnan(nothing.value)
    assert str(nothing) == "not known"
    few = rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]))
    assert few.value == pytest.approx(0.5)
    assert math.isnan(few.low)
    assert str(few) == "0.50"


def test_interval_of_a_ratio_is_that_of_its_linearisation():
    losses = LOSSES.numpy()
    chosen = np.arange(400) % 3 == 0
    found = ratio_of_means(losses, chosen, seed=0)
    mean, share = losses.mean(), chosen.mean()
    ratio = losses[chosen].mean() / mean
    influence = chosen / share * (losses - losses[chosen].mean()) / mean
    influence -= ratio * (losses - mean) / mean
    reach = stats.norm.ppf(0.975) * influence.std() / 20
    assert found.value == pytest.approx(ratio)
    assert found.low == pytest.approx(ratio - reach, abs=0.2 * reach)
    assert found.high == pytest.approx(ratio + reach, abs=0.2 * reach)


@pytest.mark.parametrize(
    ("losses", "chosen"), [([1, 2], [False, False]), ([-1, 2], [True, False]), ([0, 0], [True] * 2)]
)
def test_ratios_that_are_not_known(losses, chosen):
    found = ratio_of_means(np.array(losses, dtype=float), np.array(chosen), seed=0)
    assert math.isnan(found.value)


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


class Recorder(nn.Module):
    """A model whose parts are in different modes."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(1)
        self.frozen = nn.BatchNorm1d(1)
        self.train()
        self.frozen.eval()

    def modes(self) -> list[bool]:
        return [module.training for module in self.modules()]


def random_numbers() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002


def seed_everything() -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)


@pytest.mark.parametrize("fails", [False, True])
def test_modes_and_random_states_are_restored(fails):
    model, seen = Recorder(), []

    def loss_fn(given: Recorder, batch: Tensor) -> Tensor:
        assert given is model
        seen.append((model.modes(), torch.is_grad_enabled()))
        random_numbers()
        if fails and len(seen) == 7:
            raise ZeroDivisionError
        return model.norm(model.dropout(batch.float()[:, None])).mean()

    modes, norm = model.modes(), model.norm.running_mean.clone()
    seed_everything()
    expected = random_numbers()
    seed_everything()
    if fails:
        with pytest.raises(ZeroDivisionError):
            audit(scored(), model, loss_fn)
    else:
        audit(scored(), model, loss_fn)
    assert random_numbers() == expected
    assert model.modes() == modes
    assert torch.is_grad_enabled()
    assert torch.equal(model.norm.running_mean, norm)
    assert all(each == ([False] * len(modes), False) for each in seen)
    assert len(seen) == (7 if fails else 400)


def test_losses_that_draw_numbers_draw_the_same_for_all_samples():
    def loss_fn(model: Any, batch: Tensor) -> Tensor:
        drawn.append(sum(random_numbers()))
        return torch.tensor(drawn[-1])

    drawn: list[float] = []
    audit(scored(), nn.Identity(), loss_fn, num_samples=5)
    once = drawn.copy()
    assert len(set(once)) == 1
    torch.rand(3)
    drawn.clear()
    found = audit(scored(), nn.Identity(), loss_fn, num_samples=5, repeats=3)
    assert drawn[0] == once[0]
    assert drawn == drawn[:3] * 5
    assert len(set(drawn)) == 3
    np.testing.assert_allclose(found.losses, np.mean(drawn[:3]), rtol=1e-6)
    drawn.clear()
    audit(scored(), nn.Identity(), loss_fn, num_samples=5, seed=1)
    assert drawn[0] != once[0]


# Any loss


class Pairs(torch.utils.data.Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input": torch.full((index % 3 + 1,), float(index)), "target": index}


def test_batches_of_any_kind():
    """Samples that only the given function can collate, a dictionary, and a number as loss."""

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        assert len(samples) == 1
        return {"inputs": samples[0]["input"][None], "targets": [samples[0]["target"]]}

    def loss_fn(model: nn.Module, batch: dict[str, Any]) -> float:
        assert batch["inputs"].shape == (1, batch["targets"][0] % 3 + 1)
        return float((model(batch["inputs"]).mean() - 2 * batch["targets"][0]) ** 2)

    train = with_scores(InfoBatch(Pairs(), 10), torch.arange(40.0))
    found = audit(train, nn.Identity(), loss_fn, collate_fn=collate)
    np.testing.assert_allclose(found.losses, np.arange(40.0) ** 2)
    assert found.correlation.value == 1


def test_all_of_a_batch_is_moved_to_the_device():
    Sample = namedtuple("Sample", ["image", "name"])
    device = torch.device("meta")
    image = torch.ones(2)
    batch = {"a": image, "b": [image, (image, 3)], "c": Sample(image, "x")}
    there = to_device(batch, device)
    assert there["a"].device == there["b"][0].device == there["b"][1][0].device == device
    assert there["c"].image.device == device
    assert (there["b"][1][1], there["c"].name, type(there["c"])) == (3, "x", Sample)
    assert image.device.type == "cpu"


def test_batches_go_where_the_model_is_or_as_said():
    seen = []

    def loss_fn(model: Any, batch: Tensor) -> float:
        seen.append(batch.device.type)
        return 1.0

    audit(scored(), nn.Linear(1, 1, device="meta"), loss_fn, num_samples=4)
    audit(scored(), nn.Linear(1, 1), loss_fn, num_samples=4, device="meta")
    audit(scored(), nn.Identity(), loss_fn, num_samples=4)
    assert seen == ["meta"] * 8 + ["cpu"] * 4


def test_losses_that_are_not_finite_are_left_out():
    def loss_fn(model: Any, batch: Tensor) -> Tensor:
        bad = {3: math.nan, 5: math.inf}.get(int(batch))
        return looked_up(model, batch) if bad is None else torch.tensor(bad)

    found = audit(scored(), nn.Identity(), loss_fn)
    assert (found.num_samples, found.left_out) == (398, 2)
    rest = np.setdiff1d(np.arange(400), [3, 5])
    assert found.indices.tolist() == rest.tolist()
    expected = stats.spearmanr(SCORES.float().numpy()[rest], LOSSES.numpy()[rest]).statistic
    assert found.correlation.value == pytest.approx(expected)
    assert "398 in" in str(found)
    assert "2 losses were not finite" in str(found)


# Misuse


def test_no_finite_loss():
    with pytest.raises(RuntimeError, match=r"none of the losses of 400 samples is finite"):
        audit(scored(), nn.Identity(), lambda model, batch: math.nan)


def test_a_stream():
    train = InfoBatch(stream_of([]), num_epochs=3)
    with pytest.raises(RuntimeError, match=r"keys instead of indices.*read train\.reliability"):
        audit(train, nn.Identity(), looked_up)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (torch.ones(2), ValueError, r"tensor of shape \(2,\) was returned.*take its mean"),
        ({"loss": 1}, TypeError, r"a dict was returned: return only the loss"),
        (None, TypeError, r"a NoneType was returned"),
    ],
)
def test_what_is_no_loss(returned, error, message):
    with pytest.raises(error, match=message):
        audit(scored(), nn.Identity(), lambda model, batch: returned)


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


# Advice


def advice_on(
    scores: Tensor, losses: Tensor, method: type[PrunedDataset] = InfoBatch, labels: Any = None
) -> Audit:
    train = with_scores(method(Numbers(losses.numel()), num_epochs=10), scores.float())
    return audit(train, nn.Identity(), lambda model, batch: losses[batch].mean(), labels=labels)


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
    assert ("otherwise try saving=0.2" in found.advice[0]) == (learned > 0.3)


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
    assert [line.startswith("- ") for line in lines] == [False] * 9 + [True] * 4
    assert "not known" in lines[2]  # the reliability, after one epoch


# The command

FILE = """
import torch
from dynaprune import BLS, DataLoader, InfoBatch, NoPrune

data = torch.arange(60.0)[:, None] / 60

def loss_fn(model, batch):
    return model(batch).square().mean()

def make():
    torch.manual_seed(0)
    return BLS(InfoBatch(data, num_epochs=9)).proxy(), torch.nn.Linear(1, 1), loss_fn

def make_four():
    def collate(samples):
        return torch.stack(samples) + 0
    return *make(), collate

def make_dict():
    train, model, _ = make()
    labels = ["common"] * 59 + ["rare"]
    return dict(train=train, model=model, loss_fn=loss_fn, labels=labels, repeats=2)

def make_dict_of_more():
    return make_dict() | dict(number=1, num_samples=3)

def make_dict_of_less():
    return dict(train=make()[0])

def make_two():
    return make()[:2]

def make_none():
    pass

def make_error():
    raise ZeroDivisionError("in the user's own code")

def make_other():
    return data, torch.nn.Linear(1, 1), loss_fn

number = 3
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))  # taken off again, with what the command adds
    monkeypatch.setitem(__import__("sys").modules, "the_run", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "the_run.py").write_text(FILE)
    return tmp_path / "the_run.py"


def write_checkpoint(file: Path) -> Path:
    names: dict[str, Any] = {}
    exec(FILE, names)
    train, model, loss_fn = names["make"]()
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.bias.fill_(0.0)
    for batch in DataLoader(train, batch_size=1):
        train.update(loss_fn(model, batch))
    path = file.with_name("run.pt")
    save_checkpoint(path, model=model.state_dict(), train=train.state_dict())
    return path


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["audit", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.mark.parametrize("function", ["make", "make_four", "make_dict"])
def test_command_with_a_checkpoint(file, function):
    path = write_checkpoint(file)
    result = run(f"the_run.py:{function}", "--checkpoint", path, "--num-samples", "50")
    assert result.exit_code == 0, result.output
    assert "true losses measured" in result.output
    assert "50 in" in result.output
    # at batch size 1 one epoch orders them by their losses
    assert "1.00 (95% interval 1.00 to 1.00)" in result.output
    assert "- The scores order the samples by their losses" in result.output


def test_command_with_labels(file):
    result = run("the_run.py:make_dict", "--checkpoint", write_checkpoint(file))
    assert result.exit_code == 0, result.output
    assert "The largest class has 59 samples, the smallest 1." in " ".join(result.output.split())


def test_command_without_a_checkpoint(file):
    result = run(f"{file}:make")
    assert result.exit_code == 0, result.output
    assert "train for an epoch first" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["the_run.py"], "give FILE.py:FUNCTION, such as train.py:make, but 'the_run.py'"),
        (["the_run:make"], "give FILE.py:FUNCTION"),
        (["other.py:make"], "there is no file other.py"),
        (["the_run.py:build"], "the_run.py has no function build"),
        (["the_run.py:number"], "the_run.py has no function number"),
        (["the_run.py:make_two"], "must return train, model, loss_fn, and optionally a"),
        (["the_run.py:make_two"], "but it returned 2 values"),
        (["the_run.py:make_dict_of_more"], "but it returned a dict with number, num_samples"),
        (["the_run.py:make_dict_of_less"], "but it returned no model, loss_fn"),
        (["the_run.py:make_none"], "but it returned a NoneType"),
        (["the_run.py:make_other"], "train must be a PrunedDataset, but a Tensor"),
        (["the_run.py:make", "--checkpoint", "none.pt"], "there is no checkpoint none.pt"),
        (["the_run.py:make", "--checkpoint", "the_run.py"], "cannot be read"),
        (["the_run.py:make", "--checkpoint", "bare.pt"], "is incomplete, it has no train"),
        (["the_run.py:make", "--checkpoint", "other.pt"], "size mismatch"),
    ],
)
def test_mistakes_are_told_without_a_traceback(file, arguments, message):
    save_checkpoint("bare.pt", model={})
    names: dict[str, Any] = {}
    exec(FILE, names)
    save_checkpoint(
        "other.pt", model=nn.Linear(3, 1).state_dict(), train=names["make"]()[0].state_dict()
    )
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("dynaprune audit: ")
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_errors_in_the_users_own_code_are_the_users_to_trace(file):
    result = run("the_run.py:make_error")
    assert isinstance(result.exception, ZeroDivisionError)


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
    assert "otherwise try saving=0.2" in advice_while(InfoBatch(data, 10), losses, chunk=1)
    budget = advice_while(InfoBatch(data, 10, saving=0.35), losses, chunk=1)
    assert "saving=0.2" not in budget
    assert "compare saving=0.35, which is in use, with RandomPrune and fewer epochs" in budget
    random = advice_while(RandomPrune(data, 10, saving=0.35), losses, chunk=1)
    assert "compare saving=0.35, which is in use, with fewer epochs" in random
    auto = advice_while(RandomPrune(data, 10, saving="auto"), losses, chunk=1)
    assert "compare saving='auto', which is in use, with fewer epochs" in auto
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
