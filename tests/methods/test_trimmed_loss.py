"""TrimmedLoss by its description."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, train_epoch, with_scores

from dynaprune import DataLoader, KalmanBLS, SampleLoss, TrimmedLoss
from dynaprune.scores.loss_trends import Unlearned
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


class Falling:
    """Losses of a training in which right samples are learned, easy ones first, and wrong ones not.

    The loss of a right sample falls like a power of what the easiest have come to, with a smaller
    exponent the harder it is.
    """

    def __init__(self, count: int, wrong: float, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.is_wrong = np.zeros(count, dtype=bool)
        self.is_wrong[random.permutation(count)[: round(wrong * count)]] = True
        self.hardness = random.uniform(0, 1, count)
        self.noise = random

    def at(self, epoch: int, batch: torch.Tensor) -> torch.Tensor:
        """Return the loss of each sample of a batch: shape (B,)."""
        samples = batch.numpy()
        hardness = self.hardness[samples]
        right = (0.3 + 1.2 * hardness) * np.exp(-0.15 * epoch * (1 - 0.6 * hardness))
        losses = np.where(self.is_wrong[samples], 2.0, right)
        return torch.from_numpy(losses * self.noise.lognormal(0, 0.1, samples.size)).float()


def trained_on(losses, count, epochs, reads, trained=None, **settings):
    """Return a run of `TrimmedLoss`, and how many samples each epoch served."""
    train = KalmanBLS(TrimmedLoss(Numbers(count), epochs, **settings)).proxy()
    loader, lengths = DataLoader(train, batch_size=32), []
    for epoch in range(trained or epochs):
        served = train_epoch(loader, lambda batch, e=epoch: reads(losses.at(e, batch)))
        lengths.append(sum(map(len, served)))
    return train, lengths


def slices_of_four(losses):
    return torch.stack([part.mean() for part in losses.split(4)])


@pytest.mark.parametrize(
    ("reads", "least", "most"),
    [(lambda losses: losses, 0.9, 1.2), (slices_of_four, 0.2, 1.0)],
    ids=["vectors", "fours"],
)
@pytest.mark.parametrize("wrong", [0.0, 0.2, 0.4])
def test_auto_trims_what_is_not_learned_from_two_fifths_of_the_run_on(reads, least, most, wrong):
    """From slices the estimate is less sure, and one standard error less than it is trimmed."""
    losses = Falling(4000, wrong)
    train, lengths = trained_on(losses, 4000, 20, reads, trained=12)
    assert lengths[:8] == [4000] * 8
    skipped = 1 - lengths[8] / 4000
    assert least * 0.9 * wrong <= skipped <= most * 0.9 * wrong
    assert lengths[9:] == [lengths[8]] * 3  # of what is trimmed, too little is known to say more
    if wrong:
        found = train.suspects()
        # four in five of them even where a fifth more than are wrong was trimmed
        assert losses.is_wrong[found.numpy()].mean() > 0.8


def test_auto_trims_nothing_by_the_losses_of_large_batches():
    """They cannot tell, however wrong the labels are."""
    _, lengths = trained_on(Falling(4000, 0.4), 4000, 10, lambda losses: losses.mean())
    assert lengths == [4000] * 10


def test_auto_trims_nothing_where_wrong_labels_are_memorized():
    losses = Falling(4000, 0.3)
    memorized = lambda epoch, batch: losses.at(0, batch) * 0.7**epoch  # noqa: E731
    losses_fall = type("Memorized", (), {"at": staticmethod(memorized)})
    _, lengths = trained_on(losses_fall, 4000, 12, lambda each: each)
    assert lengths == [4000] * 12


def test_auto_does_without_epochs_that_were_left_early():
    losses = Falling(4000, 0.3)
    train = SampleLoss(TrimmedLoss(Numbers(4000), 17)).proxy()
    loader = DataLoader(train, batch_size=32)
    for epoch in range(7):
        train_epoch(
            loader,
            lambda batch, e=epoch: losses.at(e, batch),
            stop_after=40 if epoch == 4 else None,
        )
    train.end_epoch()
    assert 1 - len(train.sampler) / 4000 == pytest.approx(0.27, abs=0.06)


@pytest.mark.parametrize("drops", [False, True])
def test_auto_takes_epochs_that_lack_a_tail_or_a_loss(drops):
    losses = Falling(4001, 0.3)
    train = SampleLoss(TrimmedLoss(Numbers(4001), 15)).proxy()
    loader = DataLoader(train, batch_size=32, drop_last=drops)

    def without_one(epoch, batch):
        return torch.where(batch == 7, torch.tensor(math.nan), losses.at(epoch, batch))

    for epoch in range(6):
        train_epoch(loader, lambda batch, e=epoch: without_one(e, batch))
    assert 1 - len(train.sampler) / 4001 == pytest.approx(0.27, abs=0.06)


@pytest.mark.parametrize(
    ("found", "trims"),
    [
        (None, 0.0),
        (Unlearned(0.3, 0.02), 0.28),
        (Unlearned(0.06, 0.02), 0.0),  # too small to count
        (Unlearned(0.3, 0.16), 0.0),  # too uncertain
        (Unlearned(-0.2, 0.01), 0.0),
        (Unlearned(0.9, 0.01), 0.5),
    ],
)
def test_auto_trims_one_standard_error_less_than_it_finds(found, trims):
    train = TrimmedLoss(Numbers(1000), 10, refresh=0.0)
    scores = torch.randperm(1000).float()
    for epoch, share in ((3, 0.0), (4, trims)):
        selection = train.select(scores, epoch, epoch_generator(0, epoch), found)
        kept = set(selection.indices.tolist())
        assert kept == {i for i in range(1000) if scores[i] < 1000 - round(share * 1000)}


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
def test_auto_trims_nothing_where_nothing_is_learned(draw, seed):
    losses = torch.from_numpy(draw(np.random.default_rng(seed))).float()
    train = SampleLoss(TrimmedLoss(Numbers(5000), 6, seed=seed)).proxy()
    loader = DataLoader(train, batch_size=100)
    for _ in range(5):
        train_epoch(loader, lambda batch: losses[batch])
    assert len(train.sampler) == 5000


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
    scores = torch.randperm(100, generator=torch.Generator().manual_seed(0)) % 2.0
    orders = {
        tuple(with_scores(TrimmedLoss(Numbers(100), 9, seed=seed), scores).suspects(20).tolist())
        for seed in range(10)
    }
    assert len({order[0] for order in orders}) > 3
    assert all(scores[list(order)].min() == 1 for order in orders)


def test_suspects_after_a_run_with_saving():
    """The last epoch's number, and not none because the run is over."""
    losses = torch.rand(100)
    train = with_scores(TrimmedLoss(Numbers(100), 2, saving=0.09, start=0.5), losses)
    train.begin_epoch()
    train.update(losses, indices=torch.arange(100))
    train.end_epoch()
    assert train.epoch == 2
    assert train.suspects().tolist() == train.scores.argsort(descending=True)[:20].tolist()


def test_suspects_that_cannot_be_named():
    train = TrimmedLoss(Numbers(10), 5)
    with pytest.raises(RuntimeError, match="no sample stands out, because all have the same mean"):
        train.suspects()
    train = with_scores(train, torch.arange(10.0))
    with pytest.raises(ValueError, match="count must be at most 10, the samples, but 11 was given"):
        train.suspects(11)
    with pytest.raises(ValueError, match="count must be at least 0, but -1 was given"):
        train.suspects(-1)
