"""Streams: what is pruned by key, before it is decoded, is pruned as what has an index."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
import torch
from every_method import EACH_KIND
from helpers import mean_loss, sample_losses
from streams import LOADERS, Split, Stored, bls_stream, run, stream_of, visits_of

from dynaprune import (
    BLS,
    DataLoader,
    InfoBatch,
    NoPrune,
    PrunedIterableDataset,
    SampleLoss,
)
from dynaprune.data.keys import KeyTable, fingerprint
from dynaprune.loading.stream_worker import KeptSample, shuffled


@pytest.mark.parametrize(
    ("sample", "key", "error", "message"),
    [
        ({"a": 1, "b": 2}, "id", KeyError, "key='id' is not in a sample, which has 'a', 'b'"),
        ({}, "id", KeyError, "key='id' is not in a sample, which has no fields"),
        ((1, 2), 3, IndexError, "key=3 is not in a sample, which has 2 fields"),
    ],
)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_sample_without_the_key(sample, key, error, message, num_workers):
    train = NoPrune(PrunedIterableDataset([sample], key=key), num_epochs=1)
    loader = DataLoader(train, batch_size=1, num_workers=num_workers)
    with pytest.raises(error, match=re.escape(message)):
        next(iter(loader))


@pytest.mark.parametrize("method", EACH_KIND)
def test_served_by_any_number_of_workers_alike(method):
    expected, end = run(bls_stream(method))
    for arguments in LOADERS[2:4]:
        train = bls_stream(method)
        served, state = run(train, **arguments)
        assert served == expected
        assert state["score"]["values"].equal(end["score"]["values"])


@pytest.mark.parametrize("method", EACH_KIND)
def test_a_pass_serves_what_the_method_selects(method):
    """The selection is that of a map-style dataset whose samples have the same numbers."""
    train = bls_stream(method)
    loader = DataLoader(train, batch_size=7)
    for epoch in range(6):
        scores = train.scores
        if epoch == 0:
            selected = set(range(100))
        else:
            numbers = train.numbers_of(f"sample {i}" for i in range(100))
            kept = set(train.next_selection().indices.tolist())
            selected = {i for i in range(100) if int(numbers[i]) in kept}
            assert scores.shape == (100,)
        served = [sample for batch in loader for sample in batch.tolist()]  # a look
        again = []
        for batch in loader:
            train.update(mean_loss(batch))
            again += batch.tolist()
        assert again == served
        assert sorted(served) == sorted(selected)
        assert served != sorted(served)
    assert len(train) == 100


def test_scores_are_those_of_updating_step_by_step():
    train = bls_stream(InfoBatch, prune_ratio=0.6)
    loader = DataLoader(train, batch_size=6)
    reference: dict[int, float] = {}
    first = None
    for _ in range(5):
        for batch in loader:
            loss = mean_loss(batch)
            train.update(loss)
            first = float(loss) if first is None else first
            for sample in batch.tolist():
                reference[sample] = 0.7 * reference.get(sample, first) + 0.3 * float(loss)
    numbers = train.numbers_of(f"sample {i}" for i in range(100))
    expected = [reference[i] for i in range(100)]
    np.testing.assert_allclose(train.scores[numbers].numpy(), expected, rtol=1e-5)


def test_weights_rescale_the_loss_and_sum_to_the_number_of_samples():
    train = SampleLoss(InfoBatch(stream_of(Stored(60)), 10)).proxy()
    loader = DataLoader(train, batch_size=4)
    total = 0.0
    for epoch in range(2):
        for batch in loader:
            losses, weights = sample_losses(batch), torch.ones(len(batch))
            if epoch == 1:
                weights = train.weights[train.numbers_of(f"sample {i}" for i in batch.tolist())]
                total += float(weights.sum())
            assert train.batch_weight == pytest.approx(float(weights.mean()))
            assert float(train.update(losses)) == pytest.approx(float((losses * weights).mean()))
    assert total == pytest.approx(60, rel=1e-5)


def test_what_is_skipped_is_read_but_never_decoded():
    decoded = Counter()

    def decode(stored):
        decoded[stored[1]] += 1
        return torch.tensor(stored[1])

    source = Stored(100)
    train = BLS(InfoBatch(PrunedIterableDataset(source, key=0, decode=decode), 10)).proxy()
    served, _ = run(train)
    assert source.read == 5 * 100
    assert decoded == Counter(sample for _, batch in served for sample in batch)
    assert sum(decoded.values()) < 450
    summary = train.summary()
    assert summary.visits_made == sum(decoded.values())
    assert summary.visits_avoided == 500 - summary.visits_made


def test_new_keys_are_served_and_known_from_then_on():
    source = Stored(40)
    train = BLS(InfoBatch(stream_of(source, shuffle=10), 10)).proxy()
    loader = DataLoader(train, batch_size=5)
    run(train, 2, loader=loader)
    old = dict(zip(range(40), train.scores[train.numbers_of(_keys(range(40)))], strict=True))
    source.numbers += [100, 101, 102]
    served, _ = run(train, 3, loader=loader)
    visits = visits_of(served, 2)
    assert {100, 101, 102} < set(visits)
    assert len(train) == 43
    unvisited = [i for i in range(40) if i not in visits]
    assert unvisited
    for sample in unvisited:
        assert float(train.scores[train.numbers_of(_keys([sample]))]) == float(old[sample])
    source.numbers = source.numbers[3:]  # what has gone stays known, and is not missed
    served, _ = run(train, 4, loader=loader)
    assert not {0, 1, 2} & set(visits_of(served, 3))


def _keys(numbers):
    return [f"sample {number}" for number in numbers]


def test_losses_that_are_not_finite_leave_their_samples_unknown(caplog):
    train = bls_stream(InfoBatch, 40, shuffle=0)
    loader = DataLoader(train, batch_size=10)
    for step, _ in enumerate(loader):
        train.update(torch.tensor(float("nan") if step == 1 else 1.0 + step))
    assert len(train) == 30
    assert set(range(10, 20)) < {sample for batch in loader for sample in batch.tolist()}


class Shards:
    """A function that makes an iterator, with the epoch it is told of."""

    def __init__(self):
        self.epochs = []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def __call__(self):
        return ({"__key__": f"{i}", "value": i} for i in range(10))


def test_functions_that_return_iterators_and_streams_that_are_told_the_epoch():
    shards = Shards()
    stream = PrunedIterableDataset(
        shards, key=lambda stored: int(stored["__key__"]), decode=lambda stored: stored["value"]
    )
    assert list(stream) == list(range(10))
    train = BLS(NoPrune(stream, 3)).proxy()
    shards.epochs.clear()
    served, _ = run(train, 3)
    assert visits_of(served, 2) == list(range(10))
    assert shards.epochs == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"stream": iter([1])}, TypeError, "only once"),
        ({"stream": 5}, TypeError, "stream must be an iterable"),
        ({"key": 1.5}, TypeError, "key must be a function"),
        ({"key": True}, TypeError, "key must be a function"),
        ({"decode": 3}, TypeError, "decode must be a function"),
        ({"shuffle": -1}, ValueError, "shuffle must be at least 0"),
        ({"num_samples": 0}, ValueError, "num_samples must be at least 1"),
        ({"shuffle": 1.0}, TypeError, "shuffle must be an integer"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        PrunedIterableDataset(**{"stream": [1], "key": 0, **arguments})


def test_misuse():
    train = bls_stream(InfoBatch)
    with pytest.raises(RuntimeError, match="leave sampler out"):
        _ = train.sampler
    with pytest.raises(RuntimeError, match="use the DataLoader of dynaprune"):
        train.with_indices()
    with pytest.raises(RuntimeError, match="leave indices out"):
        train.update(torch.tensor(1.0), indices=torch.tensor([1]))
    with pytest.raises(ValueError, match=r"PrunedIterableDataset\(\.\.\., shuffle=1000\)"):
        DataLoader(train, batch_size=4, shuffle=True)
    with pytest.raises(RuntimeError, match="is for streams"):
        BLS(InfoBatch(range(5), 3)).proxy().numbers_of([1])
    with pytest.raises(TypeError, match="PrunedIterableDataset"):
        InfoBatch(Split(5), 3)
    train = BLS(InfoBatch(PrunedIterableDataset([(1.5, 1)], key=0), 3)).proxy()
    with pytest.raises(TypeError, match=r"returned 1\.5 \(float\)"):
        next(iter(DataLoader(train, batch_size=1)))


def test_a_state_of_a_stream_belongs_to_streams():
    state = bls_stream(InfoBatch).state_dict()
    train = BLS(InfoBatch(range(100), 10)).proxy()
    with pytest.raises(RuntimeError, match="num_samples"):
        train.load_state_dict(state)


def test_an_empty_stream_is_no_training_set():
    with pytest.raises(RuntimeError, match="the stream yielded no sample"):
        list(DataLoader(bls_stream(InfoBatch, 0), batch_size=4))


def test_keys_are_whole_also_where_passes_interleave():
    train = bls_stream(NoPrune, 40)
    loader = DataLoader(train, batch_size=10)
    run(train, 1, loader=loader)
    one = iter(loader)
    train.update(mean_loss(next(one)))
    other = iter(loader)
    batch = next(other)
    next(iter(loader))
    train.update(mean_loss(batch))
    for batch in other:
        train.update(mean_loss(batch))
    run(train, 4, loader=loader)
    assert len(train) == 40


@pytest.mark.parametrize("said", [None, 1000])
def test_a_share_that_is_to_be_saved_of_a_stream_of_another_length(said):
    stream = stream_of(Stored(7), num_samples=said)
    train = BLS(InfoBatch(stream, 10, saving=0.63)).proxy()
    served, _ = run(train, 10, batch_size=2)
    assert all(visits_of(served, epoch) for epoch in range(10))


def test_keys():
    assert fingerprint(5) == fingerprint(np.int64(5)) == 5
    assert fingerprint("a") == fingerprint(b"a") != fingerprint("b")
    assert -(2**63) <= fingerprint(2**70) < 2**63
    table = KeyTable().with_keys(np.array([5, -3, 9, 5]))
    assert table.fingerprints.tolist() == [-3, 5, 9]
    assert table.numbers_of(np.array([9, 4, -3])).tolist() == [2, -1, 0]
    assert table.with_keys(np.array([9, 2, 2])).fingerprints.tolist() == [-3, 2, 5, 9]


def test_the_buffer_mixes_and_loses_nothing():
    kept = [KeptSample(i, 1.0, i) for i in range(200)]
    mixed = [each.stored for each in shuffled(iter(kept), 50, seed=1)]
    assert sorted(mixed) == list(range(200))
    assert mixed != [each.stored for each in shuffled(iter(kept), 50, seed=2)]
    assert all(place > number - 50 for place, number in enumerate(mixed))
    assert [each.stored for each in shuffled(iter(kept), 0, seed=1)] == list(range(200))
