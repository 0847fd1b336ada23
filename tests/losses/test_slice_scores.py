"""Scores by the mean losses of slices: formula, messages, checkpoints and ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, sample_losses, train_in_pieces
from loss_checks import FLOATS, means_of
from ranks import Traffic, on_ranks
from stopped_runs import train_on
from streams import Stored, bls_stream, stream_of

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, SampleLoss
from dynaprune.losses.buffer import LossBuffer
from dynaprune.training.wire_format import HEADER, Message, encode, in_turn

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
        train.update(torch.ones(3))  # the batch is still pending


def test_a_slice_without_a_finite_loss_is_left_out():
    train = BLS(NoPrune(Numbers(8), 3), alpha=0.0).proxy()
    for batch in DataLoader(train, batch_size=8):
        train.update(torch.tensor([1.0, math.nan, 2.0, math.inf]))
        assert train.scores[batch].tolist() == [1.0, 1.0, 1.5, 1.5, 2.0, 2.0, 1.5, 1.5]
    assert train.summary().losses_left_out == 2


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
