"""`train.batches`: the batches of the loader, as indices, without one."""

from __future__ import annotations

import sys

import pytest
import torch
from helpers import (
    Numbers,
    bls,
    mean_loss,
    sample_losses,
    train_epoch,
    train_in_pieces,
    with_scores,
)
from ranks import on_ranks
from streams import bls_stream

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, SeTa, Sharded, chunked


@pytest.mark.parametrize("method", [InfoBatch, SeTa, NoPrune])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 7, 100])
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_batches_of_the_loader(method, batch_size, drop_last):
    ours, other = bls(method, 60), bls(method, 60)
    loader = DataLoader(other, batch_size=batch_size, drop_last=drop_last)
    for _ in range(5):
        batches = ours.batches(batch_size, drop_last=drop_last)
        assert len(batches) == len(loader)
        served = []
        for indices in batches:
            assert indices.dtype == torch.int64
            loss = mean_loss(indices)
            weight = float(ours.weights[indices].mean())
            assert float(ours.update(loss)) == pytest.approx(float(loss) * weight)
            served.append(indices.tolist())
        assert served == train_epoch(loader, mean_loss)
        assert ours.epoch == other.epoch
        assert ours.progress == other.progress
    assert ours.scores.equal(other.scores)
    assert ours.mean_loss == pytest.approx(other.mean_loss, nan_ok=True)
    assert ours.summary().visits_made == other.summary().visits_made


@pytest.mark.parametrize("chunks", [3, 8])
def test_losses_of_slices_and_of_samples(chunks):
    """They meet the weights of their own samples."""
    train = with_scores(InfoBatch(Numbers(64), 10), torch.arange(64).float())
    means = chunked(lambda losses: losses.mean(), chunks=chunks)
    for indices in train.batches(8):
        losses, weights = sample_losses(indices), train.weights[indices]
        if chunks == 8:
            expected = (losses * weights).mean()
        else:
            parts = zip(losses.split(3), weights.split(3), strict=True)
            expected = sum(loss.mean() * weight.sum() for loss, weight in parts) / len(indices)
        assert float(train.update(means(losses))) == pytest.approx(float(expected))


def test_looks_and_leaving_early():
    runs = []
    for looks in (False, True):
        train = bls(InfoBatch, 60)
        batches, served = train.batches(7), []
        for epoch in range(4):
            for step, indices in enumerate(batches):
                if looks and step in (0, 3):
                    next(iter(train.batches(7)))
                train.update(mean_loss(indices))
                served.append(indices.tolist())
                if epoch == 2 and step == 4:
                    break
            if looks:
                assert next(iter(batches)).tolist() == next(iter(batches)).tolist()
        runs.append((served, train.scores.tolist(), train.epoch, train.summary().visits_made))
    assert runs[0] == runs[1]
    assert runs[0][2] == 4


def test_a_loop_that_fetches_ahead_says_which_batch_it_is():
    train = bls(InfoBatch, 60)
    held = None
    for indices in train.batches(5):
        if held is not None:
            with pytest.raises(RuntimeError, match="another batch before"):
                train.update(mean_loss(held))
            train.update(mean_loss(held), batch=held)
        held = indices
    train.update(mean_loss(held), batch=held)
    assert train.epoch == 1
    assert train.summary().visits_made == 60


def test_stopped_and_resumed(tmp_path):
    def train_on(train, stop_after=None):
        served = []
        for _ in range(train.epoch, 5):
            for indices in train.batches(7):
                train.update(mean_loss(indices))
                served.append(indices.tolist())
                if len(served) == stop_after:
                    return served, train.state_dict()
        return served, train.state_dict()

    def make():
        return bls(InfoBatch, 60)

    whole = make()
    expected, _ = train_on(whole)
    served, train, _ = train_in_pieces(make, train_on, tmp_path)
    assert served == expected
    assert train.scores.equal(whole.scores)


def test_an_epoch_without_a_batch_is_passed_over(caplog):
    train = bls(NoPrune, 10)
    assert list(train.batches(16, drop_last=True)) == []
    assert train.epoch == 1
    assert "epoch 0 keeps 10 samples, and the loader makes no batch of them" in caplog.text


def test_misuse():
    with pytest.raises(
        RuntimeError, match=r"train.batches\(\) was called, but this InfoBatch prunes"
    ):
        bls_stream(InfoBatch).batches(8)
    train = InfoBatch(Numbers(40), 5, batch_size=32)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        train.batches(0)
    with pytest.raises(TypeError, match="batch_size must be an integer"):
        train.batches(2.5)
    with pytest.raises(TypeError, match="device must be a device of torch.*'gpu' was given"):
        train.batches(8, device="gpu")
    with pytest.raises(RuntimeError, match="composes batches of 32 .* serves batches of 8"):
        iter(train.batches(8))


def on_rank(rank, sharded, by_indices):
    dataset = Sharded(Numbers(61)) if sharded else Numbers(61)
    train = BLS(InfoBatch(dataset, 10, delta=1.0)).proxy()
    batches = train.batches(4) if by_indices else DataLoader(train, batch_size=4)
    served = []
    for _ in range(4):
        for batch in batches:
            numbers = batch
            if by_indices and sharded:
                numbers = torch.tensor([dataset.index_of(i) for i in batch.tolist()])
            train.update(mean_loss(numbers))
            served.append(numbers.tolist())
        if by_indices and rank == 0:
            next(iter(batches))
    return served, train.scores


@pytest.mark.parametrize("sharded", [False, True])
def test_several_ranks(sharded):
    loaders, indices = (on_ranks(2, on_rank, sharded, each) for each in (False, True))
    for one, other in zip(loaders, indices, strict=True):
        assert one[0] == other[0]
        assert one[1].equal(other[1])


def test_a_step_makes_few_calls_whatever_the_size_of_the_batch():
    def calls(batch_size):
        train = bls(InfoBatch, 64 * batch_size)
        count, steps = 0, 0

        def note(frame, event, argument):
            nonlocal count
            count += event in ("call", "c_call")

        loss = torch.tensor(1.0)
        batches = iter(train.batches(batch_size))
        train.update(loss * float(next(batches)[0]))
        for _ in range(40):
            sys.setprofile(note)
            indices = next(batches)
            train.update(loss)
            sys.setprofile(None)
            assert len(indices) == batch_size
            steps += 1
        return count / steps

    assert calls(1024) == pytest.approx(calls(16), abs=1)
    assert calls(16) < 45
