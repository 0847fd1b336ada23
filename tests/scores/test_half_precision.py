"""Scores in float16: half the memory, and the ranking that float32 gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import Numbers, train_epoch
from scipy.stats import spearmanr

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, SampleLoss
from dynaprune.losses.measurements import Measurements


def observed(score, epochs, floor):
    """Let a score observe epochs of batches whose losses are near `floor` and differ a little."""
    draw = torch.Generator().manual_seed(0)
    difficulty = torch.rand(2000, generator=draw)
    for epoch in range(epochs):
        order = torch.randperm(2000, generator=draw)
        losses = floor + 3 * 0.9**epoch + 0.1 * difficulty[order].reshape(-1, 20).mean(1)
        sizes, steps = torch.full((100,), 20), torch.arange(100)
        score.observe(Measurements(order, sizes, losses, steps))
        score.end_epoch()
    return score.values().numpy()


@pytest.mark.parametrize("floor", [0.0, 6.0, 1000.0])
def test_the_ranking_is_that_of_float32(floor):
    full = observed(BLS(range(2000)), 30, floor)
    half = observed(BLS(range(2000), dtype=torch.float16), 30, floor)
    assert spearmanr(full, half).statistic > 0.999
    crossed = (full < full.mean()) != (half < half.mean())
    assert crossed.mean() < 0.01
    np.testing.assert_allclose(half, full, atol=1e-3 if floor < 100 else 2e-3)


def test_half_the_memory():
    assert BLS(range(100), dtype=torch.float16)._values.element_size() == 2


def test_scores_start_at_the_first_loss_exactly_and_are_equal():
    train = BLS(NoPrune(Numbers(10), 3), dtype=torch.float16).proxy()
    train_epoch(DataLoader(train, batch_size=3), lambda batch: torch.tensor(6.1), stop_after=1)
    assert train.scores.tolist() == [pytest.approx(6.1, rel=1e-6)] * 10
    assert train.scores.dtype == torch.float32


def test_what_is_out_of_range_counts_as_the_highest():
    train = SampleLoss(NoPrune(Numbers(4), 3), dtype=torch.float16).proxy()
    loader = DataLoader(train, batch_size=4)
    train_epoch(loader, lambda batch: torch.tensor([0.0, 1e9, 2.0, 1.0])[batch])
    scores = train.scores
    assert scores.isfinite().all()
    assert scores.argmax() == 1


def test_one_loss_that_is_far_off_harms_no_other_score():
    train = SampleLoss(NoPrune(Numbers(1000), 9), dtype=torch.float16).proxy()
    loader = DataLoader(train, batch_size=1000)
    losses = torch.full((1000,), 500.0)
    losses[3] = 3e5
    for losses_of_epoch in (torch.full((1000,), 8000.0), losses, losses, losses):
        train_epoch(loader, lambda batch, losses=losses_of_epoch: losses[batch])
        assert train.scores.isfinite().all()
    assert train.scores.argmax() == 3
    assert train.scores[:3].tolist() == pytest.approx([500] * 3, abs=1)
    score = BLS(range(4), dtype=torch.float16)
    score.restore(torch.tensor([1.0, 2.0, float("inf"), 3.0]))
    assert score.values().isfinite().all()


def test_a_state_is_resumed_bit_by_bit_and_in_the_other_type_nearly(tmp_path):
    def train_set(dtype):
        return BLS(InfoBatch(Numbers(60), 9), dtype=dtype).proxy()

    def loss(batch):
        return (batch.float() * 0.37).sin().mean() + 5

    train = train_set(torch.float16)
    for _ in range(3):
        train_epoch(DataLoader(train, batch_size=7), loss)
    torch.save(train.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["score"]["values"].dtype == torch.float16
    again, other = train_set(torch.float16), train_set(torch.float32)
    again.load_state_dict(state)
    other.load_state_dict(state)
    assert again.scores.equal(train.scores)
    assert other.scores.equal(train.scores)
    full = train_set(torch.float16)
    full.load_state_dict(other.state_dict())
    torch.testing.assert_close(full.scores, train.scores, atol=1e-3, rtol=0)
    served = [train_epoch(DataLoader(each, batch_size=7), loss) for each in (train, again)]
    assert served[0] == served[1]


def test_other_types_are_refused():
    with pytest.raises(ValueError, match=r"torch\.float32 or torch\.float16, but torch\.bfloat16"):
        BLS(range(10), dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="dtype must be"):
        SampleLoss(range(10), dtype=torch.float64)
