"""How much an epoch can skip, told from the losses of batches: `saving="auto"`."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch
from every_method import THAT_FIND_THE_SHARE
from helpers import Numbers, train_epoch, train_in_pieces
from ranks import on_ranks
from streams import Stored, stream_of

from dynaprune import BLS, DataLoader, KalmanBLS, PrunedScheduler, RandomPrune
from dynaprune.methods import InfoBatch, OrderDP, StaticPrune, TrimmedLoss
from dynaprune.methods._budget import MOST, automatic_share
from dynaprune.scores.loss_progress import LossProgress

LENGTH = 4000
EACH = np.random.default_rng(0).exponential(1, LENGTH)
"""Losses of variation 1; the lowest 0.3 of them hold 5%."""


def test_less_is_skipped_the_faster_losses_fall():
    assert automatic_share(None) == 0
    shares = [automatic_share(LossProgress(1.0, fall)) for fall in (-0.5, 0, 0.125, 0.25, 0.5, 1)]
    assert shares == pytest.approx([0.3, 0.3, 0.225, 0.15, 0, 0], abs=0.002)
    assert automatic_share(LossProgress(20.0, 0.0)) == MOST


def flat(batch):
    """Losses that do not fall."""
    return torch.from_numpy(EACH[batch.numpy()]).mean()


def falling(train):
    """Return losses that fall by 60% per epoch."""
    return lambda batch: flat(batch) * 0.4**train.epoch


@pytest.mark.parametrize("score", [BLS, KalmanBLS])
@pytest.mark.parametrize("method", THAT_FIND_THE_SHARE)
def test_epochs_skip_what_losses_say(method, score):
    train = score(THAT_FIND_THE_SHARE[method](Numbers(LENGTH), 8, saving="auto")).proxy()
    loader = DataLoader(train, batch_size=16, sampler=train.sampler)
    served = []
    for _ in range(8):
        served.append(len(train.sampler))
        assert len(loader) == -(-served[-1] // 16)
        assert sum(map(len, train_epoch(loader, flat))) == served[-1]
    assert served[:2] == [LENGTH, LENGTH]
    # others choose by score, which shifts the losses that are read
    tolerance = 0.04 if method == "RandomPrune" else 0.05
    assert np.mean(served[2:]) / LENGTH == pytest.approx(0.7, abs=tolerance)


@pytest.mark.parametrize("method", THAT_FIND_THE_SHARE)
def test_all_methods_skip_as_much(method):
    """Losses are the same whatever is chosen, so all read the same numbers from the same losses."""
    made = BLS(THAT_FIND_THE_SHARE[method](Numbers(400), 5, saving="auto")).proxy()
    random = BLS(RandomPrune(Numbers(400), 5, saving="auto")).proxy()
    lengths = []
    for train in (made, random):
        losses = iter(np.random.default_rng(0).exponential(1, 500))
        loader = DataLoader(train, batch_size=16)
        lengths.append([])
        for _ in range(5):
            lengths[-1].append(len(train.sampler))
            train_epoch(loader, lambda batch, losses=losses: torch.tensor(next(losses)))
    assert lengths[0] == lengths[1]
    assert min(lengths[0]) < 400


def test_the_chosen_ones_have_the_scores_that_the_method_wants():
    train = BLS(OrderDP(Numbers(LENGTH), 8, saving="auto")).proxy()
    loader = DataLoader(train, batch_size=16)
    for _ in range(6):
        train_epoch(loader, flat)
    kept = train.next_selection().indices
    assert LENGTH / 2 <= len(kept) < LENGTH
    skipped = torch.ones(LENGTH, dtype=torch.bool)
    skipped[kept] = False
    assert train.scores[kept].mean() > train.scores[skipped].mean()


def test_a_schedule_ends_with_the_run():
    train = BLS(RandomPrune(Numbers(LENGTH), 5, saving="auto")).proxy()
    loader = DataLoader(train, batch_size=16, sampler=train.sampler)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    linear = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=5 * LENGTH // 16)
    scheduler = PrunedScheduler(linear, loader, steps_per_full_epoch=LENGTH // 16)
    for epoch in range(5):
        assert linear.get_last_lr() == pytest.approx([1 - epoch / 5])
        for batch in loader:
            train.update(flat(batch))
            optimizer.step()
            scheduler.step()
    assert linear.get_last_lr() == pytest.approx([0], abs=1e-9)
    assert train.summary().visits_avoided > 0


def test_nothing_is_skipped_while_losses_fall_fast():
    train = BLS(RandomPrune(Numbers(LENGTH), 6, saving="auto")).proxy()
    loader = DataLoader(train, batch_size=16, sampler=train.sampler)
    for _ in range(6):
        train_epoch(loader, falling(train))
    assert train.summary().share_saved == 0


def test_a_stream_skips_by_itself():
    train = BLS(RandomPrune(stream_of(Stored(500)), 4, saving="auto")).proxy()
    served = []
    for _ in range(4):
        served.append(0)
        for batch in DataLoader(train, batch_size=5):
            served[-1] += len(batch)
            train.update(flat(batch))
    assert served[:2] == [500, 500]
    assert 250 <= min(served[2:]) < 500


def train_on_rank(rank):
    """Return the plans of a run, and what this rank has served."""
    train = BLS(RandomPrune(Numbers(400), 4, saving="auto")).proxy()
    loader, plans, served = DataLoader(train, batch_size=4), [], []
    for _ in range(4):
        plans.append(train.begin_epoch().plan.order.tolist())
        served += chain(*train_epoch(loader, flat))
    return plans, len(served)


def test_ranks_skip_the_same():
    (plans, served), (others, served_by_other) = on_ranks(2, train_on_rank)
    assert plans == others
    lengths = [len(plan) for plan in plans]
    assert lengths[:2] == [400, 400]
    assert max(lengths[2:]) < 400
    assert served == served_by_other == sum(-(-length // 2) for length in lengths)


def test_a_run_that_is_stopped_goes_on_alike(tmp_path):
    def make():
        return BLS(RandomPrune(Numbers(200), 5, saving="auto", seed=3)).proxy()

    def train_on(train, stop_after=None):
        loader, served = DataLoader(train, batch_size=5), []
        for _ in range(train.epoch, 5):
            for batch in loader:
                train.update(flat(batch))
                served.append(batch.tolist())
                if len(served) == stop_after:
                    return served, loader.state_dict()
        return served, train.state_dict()

    whole, _ = train_on(make())
    pieces, *_ = train_in_pieces(make, train_on, tmp_path)
    assert pieces == whole
    assert len(whole) < 5 * 40


@pytest.mark.parametrize(
    ("method", "saving"),
    [(StaticPrune, "auto"), (TrimmedLoss, "auto"), (RandomPrune, "a"), (InfoBatch, "a")],
)
def test_who_can_do_it(method, saving):
    with pytest.raises(TypeError, match=f"saving must be a number, but '{saving}' "):
        method(Numbers(10), 5, saving=saving)
