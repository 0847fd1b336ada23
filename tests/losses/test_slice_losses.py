"""What `update` makes of the mean losses of slices: the samples that they are of, and weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, sample_losses, with_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import FLOATS, Operations, means_of, weighted
from other_libraries import TheirInfoBatch
from streams import bls_stream

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, SampleLoss, chunked
from dynaprune.losses.chunk_sizes import can_be_cut, num_slices, slice_size, slice_sizes

# The rule


@given(st.integers(1, 5000), st.integers(1, 5000))
@settings(max_examples=500, deadline=None)
def test_a_count_tells_the_sizes(batch_size, asked):
    sizes = [part.numel() for part in torch.empty(batch_size).chunk(asked)]
    count = len(sizes)
    assert num_slices(batch_size, asked) == count <= asked
    assert slice_size(batch_size, asked) == slice_size(batch_size, count) == sizes[0]
    assert slice_sizes(np.array([batch_size]), np.array([count])).tolist() == sizes
    assert can_be_cut(batch_size, count)


@given(st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_counts_that_can_be_are_those_that_are(batch_size):
    counts = {len(torch.empty(batch_size).chunk(asked)) for asked in range(1, batch_size + 1)}
    assert {each for each in range(-1, 99) if can_be_cut(batch_size, each)} == counts


def test_sizes_of_several_batches():
    sizes = slice_sizes(np.array([9, 4, 1, 5]), np.array([5, 1, 1, 5]))
    assert sizes.tolist() == [2, 2, 2, 2, 1, 4, 1, 1, 1, 1, 1, 1]


# Weights


def expected_loss(losses, weights, chunks):
    """The sum of n·w·L over the slices, divided by the number of samples, by the formula."""
    total = 0.0
    for loss, part in zip(losses.double(), weights.double().chunk(chunks), strict=True):
        total += len(part) * part.mean().item() * loss.item()
    return total / len(weights)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("chunks", [2, 3, 5, 8, 13])
def test_each_slice_meets_its_own_weights(dtype, chunks):
    train = weighted()
    some_slices_differ = False
    for batch in DataLoader(train, batch_size=13):
        weights = train.weights[batch]
        count = len(batch.chunk(chunks))
        losses = (torch.rand(count, dtype=torch.float64) + 1).to(dtype).requires_grad_()
        if count == 1:
            continue
        returned = train.update(losses)
        eps = torch.finfo(dtype).eps
        assert (returned.shape, returned.dtype) == ((), dtype)
        expected = expected_loss(losses.detach(), weights, chunks)
        assert returned.item() == pytest.approx(expected, rel=4 * eps)
        returned.backward()
        shares = torch.stack([each.sum() for each in weights.double().chunk(chunks)]) / len(batch)
        torch.testing.assert_close(losses.grad.double(), shares, rtol=4 * eps, atol=0)
        some_slices_differ |= len(shares.unique()) > 1
    assert some_slices_differ


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("chunks", [2, 4, 5, 9])
def test_without_weights_it_is_the_mean_of_the_batch(dtype, chunks):
    train = bls(NoPrune, 9)
    for batch in DataLoader(train, batch_size=9):
        losses = sample_losses(batch).to(dtype).requires_grad_()
        means = chunked(lambda losses: losses.mean(), chunks)(losses)
        returned = train.update(means)
        tolerance = {"rtol": 8 * torch.finfo(dtype).eps, "atol": 0}
        torch.testing.assert_close(returned, losses.detach().mean(), **tolerance)
        returned.backward()
        torch.testing.assert_close(losses.grad, torch.full_like(losses, 1 / 9), **tolerance)


@pytest.mark.parametrize("batch", [8, 9])
def test_a_sum_beyond_float16_is_none(batch):
    train = bls(NoPrune, batch)
    for _ in DataLoader(train, batch_size=batch):
        loss = train.update(torch.full((len(torch.empty(batch).chunk(5)),), 3e4).half())
        assert loss.item() == pytest.approx(3e4, rel=1e-3)


def test_streams_have_weights_too():
    train = bls_stream(InfoBatch, 60, shuffle=0)
    loader = DataLoader(train, batch_size=8)
    for batch in loader:
        train.update(means_of(batch))
    checked = 0
    for batch in loader:
        keys = [f"sample {i}" for i in batch.tolist()]
        weights = train.weights[train.numbers_of(keys)]
        means = means_of(batch)
        expected = expected_loss(means, weights, 4)
        assert train.update(means).item() == pytest.approx(expected, rel=1e-6)
        checked += len(weights.unique()) > 1
    assert checked > 1


def test_on_a_device_nothing_is_read():
    train = with_scores(InfoBatch(Numbers(32), 10), torch.rand(32))
    assert train.begin_epoch().plan.weights is not None
    for count in (2, 3, 9):
        returned = train.update(
            torch.ones(count, device="meta"), indices=torch.ones(9, dtype=int, device="meta")
        )
        assert (returned.device.type, returned.shape) == ("meta", ())
    train = weighted()
    for batch in DataLoader(train, batch_size=9):
        losses = torch.ones(len(batch.chunk(4)))
        with Operations() as operations:
            train.update(losses)
        moves = {"aten._local_scalar_dense.default", "aten._to_copy.default"}
        assert not moves & set(operations.names)
    train = bls(NoPrune, 9)
    for _ in DataLoader(train, batch_size=9):
        assert train.update(torch.ones(5, device="meta")).device.type == "meta"


@pytest.mark.parametrize(
    ("count", "is_weighted", "names"),
    [
        (16, True, ["aten.dot.default"]),
        (4, True, ["aten.dot.default"]),
        (6, True, ["aten.dot.default"]),  # slices of 3, the last of 1
        (16, False, ["aten.mean.default"]),
        (4, False, ["aten.mean.default"]),
    ],
)
def test_one_operation_makes_one_loss_of_several(count, is_weighted, names):
    train = weighted() if is_weighted else bls(NoPrune, 64)
    losses = torch.rand(count, requires_grad=True) * 1.0
    for step, _ in enumerate(DataLoader(train, batch_size=16, drop_last=True)):
        with Operations() as operations:
            train.update(losses)
        if step > 0:
            views = {"aten.detach.default", "aten.lift_fresh.default"}
            made = [each for each in operations.names if each not in views]
            assert made == [*names, "aten.clone.default"]


def test_weights_that_are_learned_have_their_gradient():
    """Those of an object of another library may be anything that torch can multiply by."""
    for dtype in (torch.float32, torch.bfloat16):
        train = BLS(TheirInfoBatch(list(range(8)))).proxy()
        train.weights = torch.full((8,), 2.0, dtype=dtype, requires_grad=True)
        train.cur_batch_index = torch.arange(8)
        losses = torch.arange(1.0, 5.0)
        loss = train.update(losses)
        assert loss.item() == pytest.approx(2 * 2.5)
        loss.backward()
        # each of two samples of a slice is an eighth of the batch
        expected = (losses / 8).repeat_interleave(2).to(dtype)
        torch.testing.assert_close(train.weights.grad, expected)


@pytest.mark.parametrize("count", [4, 5, 13])
def test_autocast_rounds_no_weighted_loss(count):
    train = weighted()
    for batch in DataLoader(train, batch_size=13):
        if len(batch) < 13:
            continue
        losses, weights = torch.rand(count) + 1, train.weights[batch]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = train.update(losses)
        assert loss.dtype == torch.float32
        expected = expected_loss(losses, weights, len(batch) if count == 13 else count)
        assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_stacked_losses_of_micro_batches():
    train = BLS(NoPrune(Numbers(16), 2), alpha=0.0).proxy()
    for batch in DataLoader(train, batch_size=8):
        losses = [sample_losses(micro).mean() for micro in batch.chunk(4)]
        train.update(torch.stack(losses))
        for micro, loss in zip(batch.chunk(4), losses, strict=True):
            assert train.scores[micro].tolist() == [loss.item()] * 2


@pytest.mark.parametrize("score", [BLS, SampleLoss])
def test_a_mean_loss_that_is_given_beside(score):
    train = score(NoPrune(Numbers(9), 2), **({"alpha": 0.0} if score is BLS else {})).proxy()
    for batch in DataLoader(train, batch_size=9):
        means = means_of(batch)
        assert train.update(torch.tensor(7.0), mean_loss=means).item() == 7
        assert train.scores[batch].tolist() == means.repeat_interleave(3).tolist()


def test_objects_of_other_libraries():
    train = BLS(TheirInfoBatch(list(range(18))), alpha=0.0).proxy()
    train.weights[:] = torch.arange(18.0)
    for batch in torch.randperm(18, generator=torch.Generator().manual_seed(0)).split(9):
        means = means_of(batch)
        train.cur_batch_index = batch
        expected = expected_loss(means, train.weights[batch], 3)
        assert train.update(means).item() == pytest.approx(expected)
        assert train.scores[batch].tolist() == means.repeat_interleave(3).tolist()
    train.cur_batch_index = batch
    with pytest.raises(RuntimeError, match="3 or 5 such slices, but not 4"):
        train.update(torch.ones(4))
