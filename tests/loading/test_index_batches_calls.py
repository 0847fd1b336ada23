"""What an epoch of `train.batches` costs, in calls: none for a sample, none kept for a batch."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest
import torch
from helpers import mean_loss

from dynaprune import BLS, InfoBatch, KalmanBLS, NoPrune, SeTa

pytestmark = pytest.mark.usefixtures("small_heap")


def calls_of(call):
    """Return how many calls one call makes, of Python and of C."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.collect()
    gc.disable()  # what other tests left would be finalized, which calls too
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def calls_of_fold_and_plan(score, method, num_samples):
    """Return the calls before the first batch of the fourth epoch, when scores are all different.

    Losses are, and so many epochs mix them: with 0.7 for alpha no two sums of three are equal.
    """
    train = score(method(range(num_samples), 100)).proxy()
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for _ in train.batches(10):
            train.update(torch.rand((), generator=generator))
    batches = iter(train.batches(num_samples))
    return calls_of(lambda: next(batches))


@pytest.mark.parametrize("score", [BLS, KalmanBLS])
@pytest.mark.parametrize("method", [InfoBatch, SeTa, NoPrune])
def test_an_epoch_begins_without_a_call_for_a_sample(score, method):
    calls_of_fold_and_plan(score, method, 1000)  # imports what is imported once
    few, many = (calls_of_fold_and_plan(score, method, size) for size in (4000, 16_000))
    # k-means of SeTa takes an iteration more or less
    assert many < few + 1000


def test_a_batch_that_the_loop_has_dropped_is_gone():
    """Batches are prepared some at a time; only the loop holds on to one that was yielded."""
    train = BLS(NoPrune(range(1000), 10)).proxy()
    alive, seen = 0, []
    for indices in train.batches(10):
        train.update(mean_loss(indices))
        seen.append(weakref.ref(indices))
        del indices
        gc.collect()
        alive += sum(each() is not None for each in seen)
    assert len(seen) == 100
    assert alive == 0


def test_progress_costs_the_same_after_few_steps_and_many():
    train = BLS(NoPrune(range(1000), 10)).proxy()
    calls = []
    for step, indices in enumerate(train.batches(10), start=1):
        train.update(mean_loss(indices))
        assert train.progress == step / 100
        calls.append(calls_of(lambda: train.progress))
    assert len(set(calls[:-1])) == 1


def test_a_batch_is_made_by_two_calls():
    """Those of a constructor and of the generator of samples."""

    def calls_of_first(length):
        train = BLS(NoPrune(range(length), 10)).proxy()
        return calls_of(lambda: next(iter(train.batches(10))))

    calls_of_first(1000)  # imports what is imported once
    assert calls_of_first(2000) - calls_of_first(1000) == 100 * 2
