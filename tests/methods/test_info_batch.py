"""InfoBatch by its formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, train_epoch, with_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaprune import DataLoader, InfoBatch
from dynaprune.methods.info_batch import _mean_of
from dynaprune.utils.rng import epoch_generator


def select(train, scores, epoch=1, seed=0):
    return train.select(scores, epoch, epoch_generator(seed, epoch))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), ratio=st.floats(0, 0.99), length=st.integers(1, 300))
def test_kept_share_and_weights(seed, ratio, length):
    scores = torch.from_numpy(np.random.default_rng(seed).lognormal(size=length)).float()
    selection = select(InfoBatch(Numbers(length), 10, prune_ratio=ratio), scores, seed=seed)
    below = {i for i in range(length) if scores[i] < scores.double().mean()}
    kept = [i for i in selection.indices.tolist() if i in below]
    above = [i for i in selection.indices.tolist() if i not in below]
    assert sorted(above) == [i for i in range(length) if i not in below]
    if not below:
        return
    assert len(kept) == max(1, round((1 - ratio) * len(below)))
    if len(kept) == len(below):
        assert selection.weights is None
        return
    weights = dict(zip(selection.indices.tolist(), selection.weights.tolist(), strict=True))
    assert all(weights[i] == pytest.approx(len(below) / len(kept), rel=1e-6) for i in kept)
    assert all(weights[i] == 1.0 for i in above)
    assert math.fsum(weights.values()) == pytest.approx(length, rel=1e-6)


def test_expected_gradient_is_the_full_gradient():
    """Monte Carlo over plans, per-sample losses: the mean pruned gradient within its interval."""
    random = np.random.default_rng(0)
    length, dimension, draws = 60, 4, 4000
    inputs = torch.from_numpy(random.normal(size=(length, dimension)))
    targets = torch.from_numpy(random.normal(size=length))
    parameters = torch.from_numpy(random.normal(size=dimension)).requires_grad_()
    losses = (inputs @ parameters - targets).square()
    per_sample = torch.stack(
        [torch.autograd.grad(loss, parameters, retain_graph=True)[0] for loss in losses]
    )
    train = InfoBatch(Numbers(length), 10, prune_ratio=0.6)
    gradients = []
    for draw in range(draws):
        selection = select(train, losses.detach().float(), seed=draw)
        weighted = per_sample[selection.indices] * selection.weights[:, None]
        gradients.append(weighted.sum(0) / length)
    gradients = torch.stack(gradients)
    error = (gradients.mean(0) - per_sample.mean(0)).abs()
    standard_error = gradients.std(0) / math.sqrt(draws)
    assert (gradients.std(0) > 0).all()
    assert (error < 4 * standard_error).all()  # four coordinates: one in 4,000 exceeds by chance


def test_update_with_a_loss_vector_is_that_weighted_sum():
    """What `update` returns over an epoch's batches is Σ wᵢ·lᵢ of the plan."""
    train = with_scores(InfoBatch(Numbers(64), 10, prune_ratio=0.5), torch.rand(64))
    weights = train.weights
    assert weights.max() > 1
    total = 0.0
    for batch in DataLoader(train, batch_size=8):
        losses = batch.double() + 1
        returned = train.update(losses)
        assert returned.item() == pytest.approx((weights[batch] * losses).mean().item())
        total += returned.item() * batch.numel()
    kept = train.begin_epoch()  # the next epoch: a pass that has ended is over
    assert kept.plan.epoch == 2
    assert total > 0


def test_update_with_a_mean_loss_is_multiplied_by_the_mean_weight():
    train = bls(InfoBatch, 64)
    loader = DataLoader(train, batch_size=8)
    train_epoch(loader, lambda batch: batch.float().mean())
    weights = train.weights
    assert weights.max() > 1
    for batch in loader:
        returned = train.update(torch.tensor(3.0))
        assert returned.item() == pytest.approx(3.0 * weights[batch].double().mean().item())


@pytest.mark.parametrize("value", [0.1, 1 / 3, 2.3025851, 1e-8, 3.4e38, 0.0])
@pytest.mark.parametrize("length", [1, 3, 7, 1000, 1_000_003])
def test_equal_scores_are_never_below_their_mean(value, length):
    scores = np.full(length, value, dtype=np.float32)
    assert not (scores.astype(np.float64) < _mean_of(scores)).any()


def test_equal_scores_in_float32_can_round_below_their_mean():
    """The case above is real: a plain float32 mean of equal numbers does round up."""
    rounded_up = [
        value
        for value in np.linspace(0.1, 3, 200, dtype=np.float32)
        if np.float32(np.cumsum(np.full(1000, value))[-1] / 1000) > value
    ]
    assert rounded_up
    for value in rounded_up:
        selection = select(InfoBatch(Numbers(1000), 10), torch.full((1000,), float(value)))
        assert selection.weights is None
        assert selection.indices.numel() == 1000


def test_nothing_is_pruned_or_doubled_in_the_first_epoch():
    train = bls(InfoBatch, 1000)
    loader = DataLoader(train, batch_size=10)
    assert len(loader) == 100
    weights = train.weights
    served = [i for batch in train_epoch(loader, lambda b: b.float().mean()) for i in batch]
    assert sorted(served) == list(range(1000))
    assert weights.eq(1).all()
    assert len(loader) < 100


@pytest.mark.parametrize(
    ("num_epochs", "delta", "first_full"),
    [(200, 0.875, 175), (10, 0.875, 8), (100, 0.57, 57), (10, 0.7, 7), (4, 0.0, 0), (4, 1.0, 4)],
)
def test_last_epochs_train_on_everything(num_epochs, delta, first_full):
    train = InfoBatch(Numbers(50), num_epochs, delta=delta)
    scores = torch.arange(50.0)
    lengths = [select(train, scores, epoch).indices.numel() for epoch in range(num_epochs + 3)]
    assert [length < 50 for length in lengths] == [e < first_full for e in range(num_epochs + 3)]


@settings(max_examples=120, deadline=None)
@given(
    saving=st.floats(0, 0.85),
    weighting=st.sampled_from(["unbiased", "equal"]),
    length=st.integers(10, 200),
    num_epochs=st.integers(20, 40),
    skew=st.sampled_from(["normal", "right", "left", "two values", "equal"]),
    seed=st.integers(0, 1000),
)
def test_saving_is_met_exactly(saving, weighting, length, num_epochs, skew, seed):
    random = np.random.default_rng(seed)
    train = InfoBatch(Numbers(length), num_epochs, saving=saving, weighting=weighting, seed=seed)
    visits = 0
    for epoch in range(num_epochs):
        normal = random.normal(size=length)
        scores = {
            "normal": normal,
            "right": np.exp(2 * normal),
            "left": -np.exp(2 * normal),
            "two values": (normal > 1).astype(float),
            "equal": np.ones(length),
        }[skew]
        selection = select(train, torch.from_numpy(scores).float(), epoch, seed)
        assert len(set(selection.indices.tolist())) == selection.indices.numel()
        assert abs(selection.indices.numel() - (1 - saving) * length) <= 1  # as many in each epoch
        if selection.weights is not None:
            assert selection.weights.double().sum().item() == pytest.approx(length, rel=1e-6)
            assert selection.weights.max().item() <= 10.0 + 1e-5
        visits += selection.indices.numel()
    total = length * num_epochs
    assert total - visits == round(saving * total)


@pytest.mark.parametrize("budget", [{"prune_ratio": 0.6}, {"saving": 0.4}])
def test_equal_weights_keep_the_same_samples_and_count_them_alike(budget):
    scores = torch.from_numpy(np.random.default_rng(0).lognormal(size=300)).float()
    unbiased = select(InfoBatch(Numbers(300), 10, **budget), scores)
    equal = select(InfoBatch(Numbers(300), 10, weighting="equal", **budget), scores)
    assert unbiased.weights.unique().numel() == 2
    assert equal.indices.equal(unbiased.indices)
    assert equal.weights.unique().numel() == 1
    assert equal.weights.double().sum().item() == pytest.approx(300, rel=1e-6)


@pytest.mark.parametrize("saving", [0.4, 0.5, 0.6, 0.7])
def test_equal_weights_keep_the_hardest_fifth(saving):
    """A rule that no weight exceeds 2 would make candidates of all, and choose at random."""
    scores = torch.arange(300.0)
    train = InfoBatch(Numbers(300), 10, weighting="equal", saving=saving)
    kept = select(train, scores, 3).indices
    assert set(range(240, 300)) <= set(kept.tolist())
    assert kept.numel() == 300 - round(300 * saving)
    assert int((kept < 240).sum()) == 240 - round(300 * saving)


def test_equal_weights_keep_what_is_above_the_mean_where_that_is_less_than_a_fifth():
    scores = torch.cat([torch.rand(270), torch.rand(30) + 9])  # nine in ten are below the mean
    train = InfoBatch(Numbers(300), 10, weighting="equal", saving=0.6)
    kept = select(train, scores, 3).indices
    assert set(range(270, 300)) <= set(kept.tolist())
    assert kept.numel() == 120


def test_equal_weights_keep_one_in_ten_of_the_samples_that_can_be_skipped():
    train = InfoBatch(Numbers(300), 10, weighting="equal", saving=0.75)  # 225 of 250 are skipped
    kept = select(train, torch.arange(300.0), 3).indices
    assert set(range(250, 300)) <= set(kept.tolist())
    assert int((kept < 250).sum()) == 25


def test_equal_weights_while_nothing_is_skipped():
    train = InfoBatch(Numbers(100), 10, weighting="equal")
    for scores, epoch in ((torch.ones(100), 0), (torch.rand(100), 9)):
        selection = select(train, scores, epoch)
        assert selection.weights is None
        assert selection.indices.numel() == 100


def test_a_run_does_not_go_on_with_other_weights():
    """They change nothing of which samples are served, but all of what they count."""
    train = with_scores(InfoBatch(Numbers(60), 10), torch.arange(60.0))
    batches = iter(DataLoader(train, batch_size=10))
    train.update(next(batches).double())
    train.update(next(batches).double())
    state = train.state_dict()
    resumed = InfoBatch(Numbers(60), 10, weighting="equal")
    with pytest.raises(RuntimeError, match="arguments of this InfoBatch produce a different plan"):
        resumed.load_state_dict(state)
    InfoBatch(Numbers(60), 10).load_state_dict(state)


def test_weights_that_are_neither():
    with pytest.raises(ValueError, match='weighting must be "unbiased" or "equal", but True was'):
        InfoBatch(Numbers(100), 10, weighting=True)
    with pytest.raises(ValueError, match='batch_size=8 composes .* weighting="equal" all samples'):
        InfoBatch(Numbers(100), 10, weighting="equal", batch_size=8)


def test_while_nothing_is_known_saving_skips_any_sample():
    train = InfoBatch(Numbers(100), 10, saving=0.3)
    served = [select(train, torch.ones(100), 0, seed) for seed in range(50)]
    for selection in served:
        assert selection.indices.numel() == 70
        assert selection.weights is None
    assert torch.cat([selection.indices for selection in served]).unique().numel() == 100


def test_saving_with_delta_has_full_epochs_at_the_end():
    train = InfoBatch(Numbers(100), 10, saving=0.3, delta=0.8)
    kept = [select(train, torch.rand(100), epoch).indices.numel() for epoch in range(10)]
    assert kept[8:] == [100, 100]
    assert sum(kept) == 700
    assert max(kept[:8]) - min(kept[:8]) <= 1


def test_saving_prunes_the_lowest_where_too_few_are_below_the_mean():
    scores = torch.cat([torch.tensor([-1e6]), torch.arange(99.0)])  # one sample below the mean
    train = InfoBatch(Numbers(100), 10, saving=0.2)
    selection = select(train, scores, 3)
    skipped = sorted(set(range(100)) - set(selection.indices.tolist()))
    assert len(skipped) == 20
    assert max(skipped) < 2 * len(skipped)
    assert selection.weights.max() == 2  # half of those below the raised threshold are skipped


def test_saving_raises_weights_only_where_all_samples_are_candidates():
    train = InfoBatch(Numbers(100), 10, saving=0.54)
    selection = select(train, torch.rand(100), 3)
    assert selection.weights.unique().numel() == 1
    assert float(selection.weights[0]) == pytest.approx(100 / selection.indices.numel())


def test_saving_that_cannot_be_reached_says_what_can():
    with pytest.raises(ValueError, match=r"saving=0.8 cannot be reached: 2 of 10 .* At most 0.720"):
        InfoBatch(Numbers(100), 10, delta=0.8, saving=0.8)
    assert InfoBatch(Numbers(100), 10, delta=0.8, saving=0.72).saving == 0.72
    with pytest.raises(
        ValueError, match=r"an epoch can skip at most 90.0% .* At most 0.900 can be saved$"
    ):
        InfoBatch(Numbers(100), 10, saving=0.95)
    with pytest.raises(ValueError, match="At most 0.000 can be saved"):
        InfoBatch(Numbers(100), 1, delta=0.5, saving=0.1)
    assert InfoBatch(Numbers(100), 1, saving=0).saving == 0
