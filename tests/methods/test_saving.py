"""An exact share of all visits: every method with `saving` meets it, or says what it can meet."""

from __future__ import annotations

import math

import pytest
from every_method import WITH_SAVING
from helpers import Numbers, mean_loss
from streams import Stored, stream_of

from dynaprune import BLS, DataLoader, InfoBatch, RandomPrune, SeTa
from dynaprune.methods import (
    UCB,
    EpsilonGreedy,
    LossProportional,
    OrderDP,
    SelectiveBackprop,
    StaticPrune,
)

LENGTH = 37


def selecting_epochs(name, num_epochs, is_stream):
    """Return how many epochs may skip samples, by the methods' descriptions."""
    if name.startswith("TrimmedLoss"):
        share = 0.6 if "late" in name else 0.25
        return num_epochs - max(1, math.ceil(round(share * num_epochs, 9)))
    last = math.floor(round(0.7 * num_epochs, 9)) if "delta" in name else num_epochs
    return max(0, last - (1 if is_stream else 0))


def most_skipped(name):
    """Return how many samples an epoch may skip, by the methods' descriptions."""
    if name.startswith("InfoBatch"):
        return LENGTH * 9 // 10  # no weight above 10
    if name.startswith("TrimmedLoss"):
        return LENGTH - math.ceil((0.3 if "late" in name else 0.1) * LENGTH)
    return LENGTH - 1


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("num_epochs", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("name", WITH_SAVING)
def test_saving_is_met_to_the_sample_or_refused(name, num_epochs, is_stream):
    for saving in (0.0, 0.1, 0.3, 0.61):
        dataset = stream_of(Stored(LENGTH), num_samples=LENGTH) if is_stream else Numbers(LENGTH)
        wanted = round(saving * LENGTH * num_epochs)
        can = selecting_epochs(name, num_epochs, is_stream) * most_skipped(name)
        if wanted > can:
            reached = rf"saving={saving} cannot be reached: .*{can / (LENGTH * num_epochs):.3f} can"
            with pytest.raises(ValueError, match=reached):
                WITH_SAVING[name](dataset, num_epochs, saving=saving)
            continue
        train = BLS(WITH_SAVING[name](dataset, num_epochs, saving=saving)).proxy()
        loader, served = DataLoader(train, batch_size=8), []
        for _ in range(num_epochs):
            served.append(0)
            for batch in loader:
                train.update(mean_loss(batch))
                served[-1] += len(batch)
        assert LENGTH * num_epochs - sum(served) == wanted
        skips = [LENGTH - count for count in served if count < LENGTH]
        assert not skips or max(skips) - min(skips) <= 1  # as many in each epoch that selects


@pytest.mark.parametrize("num_samples", [None, 20, 100])
def test_saving_on_a_stream_of_another_length_than_was_said(num_samples):
    train = SeTa(stream_of(Stored(LENGTH), num_samples=num_samples), 8, saving=0.3)
    BLS(train).proxy()
    loader, served = DataLoader(train, batch_size=8), 0
    for _ in range(8):
        for batch in loader:
            train.update(mean_loss(batch))
            served += len(batch)
    assert LENGTH * 8 - served == round(0.3 * LENGTH * 8)


@pytest.mark.parametrize(
    "method",
    [EpsilonGreedy, UCB, OrderDP, RandomPrune, SelectiveBackprop, LossProportional, StaticPrune],
)
def test_half_is_saved_by_default(method):
    assert method(Numbers(10), 5).saving == 0.5
    with pytest.raises(TypeError, match="saving must be a number"):
        method(Numbers(10), 5, saving="0.3")


def test_an_epoch_of_a_stream_skips_more():
    assert SelectiveBackprop(stream_of(Stored(10)), 5, saving=0.6).beta == pytest.approx(3)
    assert OrderDP(stream_of(Stored(10)), 5, saving=0.32).pool == pytest.approx(0.8)


@pytest.mark.parametrize("is_stream", [False, True])
def test_static_prune_saves_the_share_to_half_a_sample_an_epoch(is_stream):
    data = stream_of(Stored(LENGTH), num_samples=LENGTH) if is_stream else Numbers(LENGTH)
    train = StaticPrune(data, 8, saving=0.3)
    loader, served = DataLoader(train, batch_size=8), []
    for _ in range(8):
        served.append(0)
        for batch in loader:
            train.update(mean_loss(batch))
            served[-1] += len(batch)
    skips = [LENGTH - count for count in served]
    assert skips == ([0] + 7 * [round(0.3 * 8 / 7 * LENGTH)] if is_stream else 8 * [11])


def test_a_refusal_names_what_trains_on_everything_and_no_number_that_nobody_said():
    stream = stream_of(Stored(10))  # does not say its length
    with pytest.raises(
        ValueError, match=r"1 of 2 epochs train on everything \(the first of a stream"
    ) as error:
        InfoBatch(stream, 2, saving=0.6)
    assert "delta=" not in str(error.value)
    assert "000" not in str(error.value)
    with pytest.raises(
        ValueError, match=r"\(the first of a stream and the last ones by delta=0.5\)"
    ):
        InfoBatch(stream, 8, saving=0.6, delta=0.5)
