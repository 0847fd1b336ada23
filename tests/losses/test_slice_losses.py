"""What `update` makes of the mean losses of slices: scores, weights, messages and checkpoints."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, sample_losses, train_in_pieces, with_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from other_libraries import TheirInfoBatch
from ranks import Traffic, on_ranks
from stopped_runs import train_on
from streams import Stored, bls_stream, stream_of
from test_losses import FLOATS, Operations, weighted

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, SampleLoss, chunked
from dynaprune.losses.buffer import LossBuffer
from dynaprune.losses.chunk_sizes import can_be_cut, num_slices, slice_size, slice_sizes
from dynaprune.training.wire_format import HEADER, Message, encode, in_turn

chunk_means = chunked(lambda losses: losses.mean(), 4)


def means_of(batch):
    """The mean losses of four slices of a batch of `Numbers`, or of as many as can be."""
    return chunk_means(sample_losses(batch))


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


# Scores


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_score_of_each_slice(dtype):
    """BLS by its formula, over batches of many sizes and counts: the state is the score alone."""
    train = BLS(NoPrune(Numbers(40), 9), alpha=0.7).proxy()
    expected, draw = None, np.random.default_rng(0)
    loader = DataLoader(train, batch_size=9)
    for _ in range(3):
        for batch in loader:
            chunks = int(draw.integers(1, 10))
            parts = batch.chunk(chunks)
            losses = torch.tensor(draw.random(len(parts)), dtype=dtype)
            train.update(losses)
            if expected is None:
                sizes = np.array([len(part) for part in parts])
                expected = np.full(40, (losses.double().numpy() * sizes).sum() / 9)
            for part, loss in zip(parts, losses.tolist(), strict=True):
                expected[part] = 0.7 * expected[part] + 0.3 * loss
        np.testing.assert_allclose(train.scores.numpy(), expected, rtol=1e-5)


def test_sample_loss_takes_slices_but_no_single_mean():
    train = InfoBatch(Numbers(18), 3)
    for batch in DataLoader(train, batch_size=9):
        with pytest.raises(RuntimeError, match=r"scores by per-sample losses.*chunked\(criterion"):
            train.update(torch.ones(1))
        means = means_of(batch)
        train.update(means)
        assert train.scores[batch].tolist() == means.repeat_interleave(3).tolist()


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (4, "9 samples make 3 or 5 such slices, but not 4"),
        (6, "9 samples make 5 or 9 such slices, but not 6"),
        (8, "5 or 9 such slices, but not 8"),
        (10, r"shape \(10,\) was given for a batch of 9"),
    ],
)
@pytest.mark.parametrize("score", [BLS, SampleLoss])
def test_counts_that_cannot_be(score, count, message):
    train = score(NoPrune(Numbers(9), 3)).proxy()
    for _ in DataLoader(train, batch_size=9):
        with pytest.raises(RuntimeError, match=message):
            train.update(torch.ones(count))
        train.update(torch.ones(3))  # the batch is still at hand


def test_a_slice_without_a_finite_loss_is_left_out():
    train = BLS(NoPrune(Numbers(8), 3), alpha=0.0).proxy()
    for batch in DataLoader(train, batch_size=8):
        train.update(torch.tensor([1.0, math.nan, 2.0, math.inf]))
        assert train.scores[batch].tolist() == [1.0, 1.0, 1.5, 1.5, 2.0, 2.0, 1.5, 1.5]
    assert train.summary().losses_left_out == 2


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


# Checkpoints and ranks


def test_stopped_and_resumed_many_times(tmp_path):
    whole = bls(InfoBatch, 60)
    expected, _ = train_on(whole, loss_of=means_of)
    assert len(whole.scores.unique()) > 20
    served, train, _ = train_in_pieces(
        lambda: bls(InfoBatch, 60), train_on, tmp_path, loss_of=means_of
    )
    assert served == expected
    assert train.scores.equal(whole.scores)


@pytest.mark.parametrize("count", [1, 3, 9])
def test_the_first_step_tells_its_form(count):
    record = LossBuffer()
    record.append(np.arange(9), torch.full((count,), 2.0))
    first, all_of_it = record.first(), record.batches()
    assert first.sizes.tolist() == all_of_it.sizes.tolist() == [9 // count] * count
    assert first.losses.tolist() == [0.0] * count


LENGTH = 61


def train_on_rank(rank, kind):
    """Train some epochs; return the samples of each step, the scores and what was sent."""
    traffic = Traffic()
    if kind == "stream":
        train = bls_stream(InfoBatch, LENGTH)
    elif kind == "sample losses":
        train = InfoBatch(Numbers(LENGTH), 10)
    else:
        train = bls(InfoBatch, LENGTH)
    epochs, sent = [], []
    # the last batch has fewer samples than the others, and as many slices, or more of them
    loader = DataLoader(train, batch_size=9 if kind == "ragged" else 8)
    for epoch in range(4):
        before, served = len(traffic.sent), []
        for step, batch in enumerate(loader):
            loss = means_of(batch)
            if kind == "mixed" and (step + rank + epoch) % 3 == 0:
                loss = sample_losses(batch) if rank else loss.mean()
            train.update(loss)
            served.append((batch.tolist(), loss.tolist()))
        epochs.append(served)
        sent.append(len(traffic.sent) - before)
    return epochs, train.scores, sent


@pytest.mark.parametrize("kind", ["slices", "ragged", "sample losses", "mixed", "stream"])
def test_ranks_tell_each_other_the_means_of_slices(kind):
    ranks = on_ranks(2, train_on_rank, kind)
    scores = ranks[0][1]
    assert ranks[1][1].equal(scores)
    expected, seen_before = np.zeros(LENGTH), False
    for epochs in zip(*(epochs for epochs, _, _ in ranks), strict=True):
        seen: set[int] = set()
        for step in range(max(map(len, epochs))):
            for served in epochs:
                if step >= len(served):
                    continue
                batch, losses = served[step]
                losses = [losses] if isinstance(losses, float) else losses
                parts = torch.tensor(batch).chunk(len(losses))
                if not seen_before:
                    sizes = [len(part) for part in parts]
                    expected[:] = np.average(losses, weights=sizes)
                    seen_before = True
                for part, loss in zip(parts, losses, strict=True):
                    for sample in part.tolist():
                        if sample not in seen:  # shares are made equal by repeating samples
                            old = 0.0 if kind == "sample losses" else 0.7
                            expected[sample] = old * expected[sample] + (1 - old) * loss
                            seen.add(sample)
    known = scores.numpy()
    if kind == "stream":
        known = known[places_of_samples(LENGTH)]
    np.testing.assert_allclose(known, expected, rtol=1e-5)
    if kind in ("slices", "sample losses"):  # one collective, after they have agreed
        assert ranks[0][2] == [2, 1, 1, 1]
    if kind == "ragged":  # but once more where the first batch did not tell how much room it takes
        assert ranks[0][2] == [3, 1, 1, 1]


def places_of_samples(length):
    """Return where the scores of a stream's samples 0, 1, … are: by the fingerprints of keys."""
    train = BLS(NoPrune(stream_of(Stored(length)), 2)).proxy()
    for batch in DataLoader(train, batch_size=9):
        train.update(means_of(batch))
    return train.numbers_of([f"sample {i}" for i in range(length)]).numpy()


@pytest.mark.parametrize("is_known", [True, False])
def test_a_message_of_slices_takes_four_bytes_for_each(is_known):
    """And four to say where a batch starts, four for how many slices it has."""
    record, share = LossBuffer(), np.arange(100, 120)
    for start, count in ((0, 5), (9, 3), (18, 2)):
        record.append(share[start : start + 9], torch.rand(count))
    measured = record.batches()
    known = share if is_known else None
    message = encode(measured, known)
    assert len(message) == HEADER.itemsize + 3 * 8 + 10 * 4 + (0 if is_known else 20 * 8)
    read = in_turn([Message(message, known)])
    assert read.sizes.tolist() == [2, 2, 2, 2, 1, 3, 3, 3, 1, 1]
    for name, values in vars(measured).items():
        assert getattr(read, name).tolist() == values.tolist()


def sequences_first(samples):
    """Two tokens of each sample, as recurrent networks read them, and a label for each sample."""
    labels = torch.stack(samples)
    return torch.stack([labels, labels]), labels


def test_slices_as_many_as_rows_of_another_dimension_lose_no_samples():
    train = BLS(NoPrune(Numbers(24), 3), alpha=0.0).proxy()
    halves = {}
    for _, labels in DataLoader(train, batch_size=4, collate_fn=sequences_first):
        means = sample_losses(labels).view(2, 2).mean(1)
        train.update(means)
        for half, mean in zip(labels.view(2, 2).tolist(), means.tolist(), strict=True):
            halves |= dict.fromkeys(map(int, half), mean)
    assert train.scores.tolist() == pytest.approx([halves[i] for i in range(24)])
