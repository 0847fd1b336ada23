"""What an epoch's fold and plan cost: memory and calls are bounded; benchmarks show times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch
from repository import ROOT

import dynaprune
from dynaprune import (
    BLS,
    DataLoader,
    InfoBatch,
    NoPrune,
    PrunedDataset,
    RandomPrune,
    SeTa,
    StaticPrune,
)
from dynaprune.losses.buffer import LossBuffer
from dynaprune.losses.measurements import Measurements
from dynaprune.methods import _histogram as histograms
from dynaprune.methods._histogram import histogram
from dynaprune.planning.weights import Weights
from dynaprune.training.wire_format import Message, encode, in_turn
from dynaprune.utils import sampling as drawing
from dynaprune.utils.sampling import nonzero, random_mask, shuffled

PACKAGE = str(Path(dynaprune.__file__).parent) + os.sep
"""Where the code of the package is: its name alone is that of a clone's folder, too."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def after_an_epoch(method: type[PrunedDataset], num_samples: int, batch: int) -> PrunedDataset:
    """Return a method that has trained its first epoch and plans the second when asked to."""
    train: PrunedDataset = BLS(method(range(num_samples), 100)).proxy()
    order = train.begin_epoch().order
    losses = torch.rand(num_samples, generator=generator())
    for start in range(0, len(order), batch):
        train.update(losses[start], indices=order[start : start + batch])
    return train


def calls_of_fold_and_plan(method: type[PrunedDataset], num_samples: int) -> int:
    train = after_an_epoch(method, num_samples, batch=100)
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        train.end_epoch()
        train.begin_epoch()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("method", [InfoBatch, SeTa, RandomPrune, StaticPrune, NoPrune])
def test_fold_and_plan_make_no_call_for_a_sample_or_a_batch(method):
    calls_of_fold_and_plan(method, 400_000)  # imports what is imported once
    few, many = (calls_of_fold_and_plan(method, size) for size in (200_000, 400_000))
    # twice the samples and 2,000 batches more; only chunks of a quarter of a million come on top,
    # and in SeTa an iteration of k-means more or less
    assert many < few + 500
    assert few < 4000


class Weighted(torch.utils.data.Dataset):
    """Samples that take no call to fetch at all."""

    def __len__(self):
        return 6400

    def __getitems__(self, indices):
        return indices


def calls_of_steps(weighted: bool) -> float:
    """Return how many calls a step of the loop makes in dynaprune, the loader's part included."""
    train: PrunedDataset = BLS(InfoBatch(Weighted(), 100)).proxy()
    if weighted:
        train.begin_epoch()
        train.update(torch.rand(6400), indices=torch.arange(6400))
        train.end_epoch()
    loader = DataLoader(train, batch_size=64, collate_fn=len)
    loss = torch.tensor(2.0, requires_grad=True) * 1
    calls, steps = 0, 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        ours = frame.f_code.co_filename.startswith(PACKAGE)
        calls += event in ("call", "c_call") and ours

    for _ in loader:
        sys.setprofile(count if steps > 1 else None)
        train.update(loss)
        steps += 1
    sys.setprofile(None)
    return calls / (steps - 2)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_makes_few_calls(weighted):
    # a slot made free every 64 steps, and samples put together, are in this mean
    assert calls_of_steps(weighted) < 45


@pytest.mark.parametrize("method", [InfoBatch, SeTa])
def test_numpy_takes_few_bytes_a_sample_to_fold_and_plan(method):
    size = 2_000_000
    train = after_an_epoch(method, size, batch=1000)
    tracemalloc.start()
    train.end_epoch()
    train.begin_epoch()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    constant = 20e6  # of chunks, and of the histogram
    assert peak < 12 * size + constant


@pytest.mark.long
@pytest.mark.parametrize("method", ["InfoBatch", "SeTa"])
def test_a_process_takes_nine_bytes_a_sample_and_24_while_planning(method):
    script = ROOT / "benchmarks" / "performance" / "scale.py"
    what = json.dumps(["ours", {"samples": 30_000_000, "method": method, "dtype": "float32"}])
    done = subprocess.run(
        [sys.executable, script, "--one", what], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    constant = 60e6 / 30_000_000  # of chunks and histogram, and of what the allocator keeps
    assert found["resident"] < 9 + constant
    assert found["peak"] < 24


@pytest.mark.parametrize("drops", [False, True])
def test_what_ranks_have_measured_is_put_in_turn_portion_by_portion(monkeypatch, drops):
    """Also where ranks have made other numbers of steps, or sent their samples themselves."""
    monkeypatch.setattr("dynaprune.training.wire_format.PORTION", 10)
    shares = [np.arange(0, 40, 2), np.arange(1, 41, 2)]
    sizes = [[4, 4, 4, 4, 4], [5, 5, 5]] if drops else [[4] * 5, [5] * 4]
    given = []
    for rank, (share, lengths) in enumerate(zip(shares, sizes, strict=True)):
        steps = torch.arange(len(lengths))
        measured = Measurements(
            torch.from_numpy(share[: sum(lengths)]), torch.tensor(lengths), steps + 0.5, steps
        )
        known = share if rank == 0 else None
        given.append((encode(measured, known), known))
    joined = in_turn([Message(*each) for each in given])
    expected, losses = [], []
    for step in range(5):
        for rank, lengths in enumerate(sizes):
            if step < len(lengths):
                start = sum(lengths[:step])
                expected += shares[rank][start : start + lengths[step]].tolist()
                losses.append(step + 0.5)
    assert joined.indices.tolist() == expected
    assert joined.losses.tolist() == losses
    assert joined.steps.tolist() == sorted(set(joined.steps.tolist()))


def test_slices_in_another_order_or_with_gaps_are_told_apart():
    share = np.arange(100, 130)
    for starts, lengths in (([10, 0, 20], [10, 10, 10]), ([0, 20], [5, 10]), ([5], [10])):
        indices = np.concatenate([share[s : s + n] for s, n in zip(starts, lengths, strict=True)])
        steps = torch.arange(len(starts))
        measured = Measurements(
            torch.from_numpy(indices), torch.tensor(lengths), steps.float(), steps
        )
        message = Message(encode(measured, share), share)
        assert message.part(0, len(starts)).indices.tolist() == indices.tolist()


def test_first_visits_are_found_portion_by_portion(monkeypatch):
    monkeypatch.setattr("dynaprune.losses.measurements.PORTION", 3)
    steps = torch.arange(4)
    indices = torch.tensor([5, 1, 2, 1, 5, 7, 7, 5])
    measured = Measurements(indices, torch.tensor([3, 2, 1, 2]), torch.arange(4.0), steps)
    first = measured.first_visits()
    assert first.indices.tolist() == [5, 1, 2, 7]
    assert first.sizes.tolist() == [3, 1]
    assert first.losses.tolist() == [0.0, 2.0]
    assert first.steps.tolist() == [0, 2]


def test_what_is_served_in_order_is_not_kept_a_second_time():
    order = torch.randperm(10_000, generator=generator(), dtype=torch.int32)
    record = LossBuffer(order)
    for start in range(0, 10_000, 50):
        record.append(order[start : start + 50].numpy().astype(np.int64), torch.tensor(1.0))
    indices = record.batches().indices
    assert indices.equal(order)
    assert indices.data_ptr() == order.data_ptr()


def test_what_is_served_out_of_order_is_kept():
    order = torch.arange(1000, dtype=torch.int32)
    expected = [np.arange(start, start + 5) for start in range(0, 500, 5)]
    expected += [np.array([7, 3, 999]), np.arange(500, 505)]
    record = LossBuffer(order)
    for number, indices in enumerate(expected):
        record.append(indices.astype(np.int64), torch.tensor(float(number)))
    batches = record.batches()
    assert batches.indices.tolist() == np.concatenate(expected).tolist()
    assert batches.sizes.tolist() == [len(indices) for indices in expected]
    assert batches.losses.tolist() == list(range(len(expected)))


def test_folding_in_portions_keeps_steps_whole(monkeypatch):
    monkeypatch.setattr("dynaprune.losses.measurements.PORTION", 10)
    sizes = torch.tensor([4, 4, 4, 1, 1, 1, 30, 2])
    steps = torch.tensor([0, 1, 2, 3, 3, 3, 4, 5])
    batches = Measurements(torch.randperm(47), sizes, torch.rand(8), steps)
    parts = list(batches.disjoint(in_parts=True))
    assert len(parts) > 2
    for name, whole in vars(batches).items():
        assert torch.cat([getattr(part, name) for part in parts]).equal(whole)
    ends = [set(part.steps.tolist()) for part in parts]
    assert all(not one & other for one, other in pairwise(ends))


def test_many_numbers_are_shuffled_uniformly(monkeypatch):
    monkeypatch.setattr(drawing, "CHUNK", 2)
    monkeypatch.setattr(drawing, "BUCKETS", 3)
    source, trials = generator(), 12_000
    seen = Counter(tuple(shuffled(torch.arange(5), source).tolist()) for _ in range(trials))
    assert len(seen) == 120
    expected = trials / 120
    chi_square = sum((count - expected) ** 2 / expected for count in seen.values())
    assert chi_square < 180  # 119 degrees of freedom: p = 0.0003


def test_subsets_are_drawn_uniformly(monkeypatch):
    monkeypatch.setattr(drawing, "CHUNK", 2)
    source, trials = generator(), 7_000
    seen = Counter(tuple(nonzero(random_mask(3, 7, source)).tolist()) for _ in range(trials))
    assert len(seen) == 35
    chi_square = sum((count - trials / 35) ** 2 / (trials / 35) for count in seen.values())
    assert chi_square < 70  # 34 degrees of freedom: p = 0.0003


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_a_histogram_counts_every_number_once(monkeypatch, offset):
    numbers = np.random.default_rng(0).lognormal(size=50_000).astype(np.float32) + np.float32(
        offset
    )
    monkeypatch.setattr(histograms, "EXACT", 0)
    monkeypatch.setattr(histograms, "CHUNK", 999)
    bins = histogram(numbers)
    assert bins.counts.sum() == numbers.size
    assert (bins.counts > 0).all()
    assert (np.diff(bins.means) > 0).all()
    ordered = np.sort(numbers)
    begins = np.cumsum(bins.counts) - bins.counts
    some = np.linspace(0, bins.counts.size - 1, 9).astype(np.int64)
    assert bins.lowest(some).tolist() == ordered[begins[some]].tolist()
    sums = np.add.reduceat(ordered.astype(np.float64), begins)
    assert np.allclose(bins.means * bins.counts, sums)


def test_two_different_weights_take_a_byte_a_sample_and_more_of_them_four():
    indices = torch.tensor([4, 1, 3])
    two = Weights.scattered(indices, torch.tensor([2.0, 1.0, 2.0]), 6)
    assert two.codes is not None
    assert two.codes.nbytes == 6
    assert two.every().tolist() == [1, 1, 1, 2, 2, 1]
    three = Weights.scattered(indices, torch.tensor([2.0, 1.0, 3.0]), 6)
    assert three.every().tolist() == [1, 1, 1, 3, 2, 1]
    for weights in (two, three):
        assert weights.of(np.array([3, 0])).tolist() == weights.every()[[3, 0]].tolist()
