"""Streams: what is pruned by key, before it is decoded, is pruned as what has an index."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from helpers import check_same_counts, mean_loss, sample_losses, train_in_pieces
from streams import Split, Stored, bls_stream, second, stream_of

from dynaprune import (
    BLS,
    DataLoader,
    InfoBatch,
    NoPrune,
    PrunedIterableDataset,
    PrunedScheduler,
    RandomPrune,
    SampleLoss,
    SeTa,
    StaticPrune,
)
from dynaprune.data.keys import KeyTable, fingerprint
from dynaprune.loading.shared_arrays import SharedArrays
from dynaprune.loading.stream_worker import KeptSample, shuffled

METHODS = [InfoBatch, SeTa, RandomPrune, StaticPrune, NoPrune]
LOADERS = [
    {},
    {"drop_last": True},
    {"num_workers": 2},
    {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 4},
    {"batch_size": None},
]


def run(train, epochs=5, *, stop_after=None, loss_of=mean_loss, loader=None, **arguments):
    """Train from where `train` is, and return (epoch, samples) of each batch, and the state."""
    if loader is None:
        loader = DataLoader(train, **{"batch_size": 7, **arguments})
    served = []
    for epoch in range(train.epoch, epochs):
        for batch in loader:
            batch = torch.atleast_1d(batch)
            train.update(loss_of(batch))
            served.append((epoch, batch.tolist()))
            if len(served) == stop_after:
                return served, loader.state_dict()
    return served, train.state_dict()


def visits_of(served, epoch):
    return [sample for number, batch in served for sample in batch if number == epoch]


@pytest.mark.parametrize("method", METHODS)
def test_served_by_any_number_of_workers_alike(method):
    expected, end = run(bls_stream(method))
    for arguments in LOADERS[2:4]:
        train = bls_stream(method)
        served, state = run(train, **arguments)
        assert served == expected
        assert state["score"]["values"].equal(end["score"]["values"])


@pytest.mark.parametrize("method", METHODS)
def test_a_pass_serves_what_the_method_selects(method):
    """The selection is that of a map-style dataset whose samples have the same numbers."""
    train = bls_stream(method)
    loader = DataLoader(train, batch_size=7)
    for epoch in range(6):
        scores = train.scores
        if epoch == 0:
            selected = set(range(100))
        else:
            plan = train._planner.plan(train.epochs.folded().score, epoch)
            assert plan.keys is not None
            numbers = train.numbers_of(f"sample {i}" for i in range(100))
            kept = set(plan.order.tolist())
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


@pytest.mark.parametrize("arguments", LOADERS)
@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_resumed_many_times(method, arguments, tmp_path):
    """Also several times in one epoch, the first one included, in which no key is known."""
    whole = bls_stream(method, 60)
    expected, end = run(whole, **arguments)
    served, train, state = train_in_pieces(
        lambda: bls_stream(method, 60), run, tmp_path, **arguments
    )
    assert served == expected
    assert train.scores.equal(whole.scores)
    check_same_counts(train, whole)
    assert state["score"]["keys"].equal(end["score"]["keys"])


def test_resumed_with_another_number_of_workers_and_batch_size():
    _, state = run(bls_stream(InfoBatch), stop_after=20, num_workers=2)
    before, _ = run(bls_stream(InfoBatch), stop_after=20)
    train = bls_stream(InfoBatch)
    train.load_state_dict(state)
    after, _ = run(train, 2, batch_size=5)
    kept = visits_of(run(bls_stream(InfoBatch), 2)[0], 1)
    assert visits_of(before, 1) + visits_of(after, 1) == kept


def test_a_stream_that_splits_itself_is_served_once_and_resumes():
    def train_set():
        return BLS(InfoBatch(stream_of(Split(100), splits_itself=True), 10)).proxy()

    whole = train_set()
    served, _ = run(whole, num_workers=2)
    assert sorted(visits_of(served, 0)) == list(range(100))
    for epoch in range(1, 5):
        visits = visits_of(served, epoch)
        assert len(set(visits)) == len(visits) < 100
    before, state = run(train_set(), stop_after=18, num_workers=2)
    train = train_set()
    train.load_state_dict(state)
    after, _ = run(train, num_workers=2)
    # whole batches, some in another order: which worker's turn it is nobody knows
    assert sorted(visits_of(before + after, 1)) == sorted(visits_of(served, 1))


def test_workers_that_do_not_read_the_same_are_noticed_at_once():
    train = BLS(InfoBatch(stream_of(Split(100)), 10)).proxy()
    with pytest.raises(RuntimeError, match="splits_itself=True"):
        list(DataLoader(train, batch_size=5, num_workers=2))


def test_a_stream_that_does_not_split_itself_as_it_should_is_warned_of(caplog):
    train = BLS(InfoBatch(stream_of(Stored(50), splits_itself=True), 10)).proxy()
    with caplog.at_level(logging.WARNING, "dynaprune"):
        run(train, 2, num_workers=2)
    assert "100 sample visits 50 were of a key that had come before" in caplog.text


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


def test_lengths_and_schedules_where_the_number_of_samples_is_said():
    train = BLS(
        InfoBatch(stream_of(Stored(100), num_samples=100), 6, saving=0.3, delta=1.0)
    ).proxy()
    loader = DataLoader(train, batch_size=10)
    assert (len(loader), loader.batches_per_full_epoch) == (10, 10)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
    scheduler = PrunedScheduler(cosine, loader, 10)
    visits = 0
    for epoch in range(6):
        length, batches = len(loader), 0
        for batch in loader:
            train.update(mean_loss(batch))
            optimizer.step()
            scheduler.step()
            batches += 1
            visits += len(batch)
        assert batches == length
        assert cosine.last_epoch == 10 * (epoch + 1)
    assert visits == round(0.7 * 600)  # exactly what saving= asks for


def test_lengths_where_it_is_not():
    train = bls_stream(InfoBatch)
    loader = DataLoader(train, batch_size=10)
    with pytest.raises(TypeError, match="num_samples="):
        len(loader)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    steps = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step)
    scheduler = PrunedScheduler(steps, loader, 10)
    for batch in loader:  # nobody knows where the first pass ends: one step at a time
        train.update(mean_loss(batch))
        optimizer.step()
        scheduler.step()
    assert steps.last_epoch == 10
    assert len(loader) == 10  # behind the loop: of its epoch
    iterator = iter(loader)
    next(iterator)
    assert len(loader) == -(-train.next_selection().indices.numel() // 10)


def test_leaving_early_ends_the_epoch_and_a_look_changes_nothing():
    train = bls_stream(InfoBatch)
    loader = DataLoader(train, batch_size=10, num_workers=2)
    looked = next(iter(loader))
    assert train.epoch == 0
    for step, batch in enumerate(loader):
        if step == 0:
            assert batch.equal(looked)
        train.update(mean_loss(batch))
        if step == 4:
            break
    assert train.epoch == 1
    assert len(train) == 50
    served, _ = run(train, 2, loader=loader)
    assert len(train) == 100
    assert len(set(visits_of(served, 1))) > 50  # 50 that are not known yet, and what is kept


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


def test_a_worker_init_fn_reads_and_writes_the_stream():
    class Parts:
        def __init__(self):
            self.first, self.last = 0, 40

        def __iter__(self):
            return ((i, i) for i in range(self.first, self.last))

    def split(worker):
        parts = torch.utils.data.get_worker_info().dataset
        parts.first, parts.last = worker * 20, worker * 20 + 20

    train = BLS(NoPrune(stream_of(Parts(), splits_itself=True), 2)).proxy()
    served, _ = run(train, 2, num_workers=2, worker_init_fn=split)
    assert sorted(visits_of(served, 1)) == list(range(40))


def test_spawned_workers_and_pickles():
    stream = PrunedIterableDataset(Stored(30), key=0, decode=second, shuffle=5)
    train = BLS(InfoBatch(stream, 5)).proxy()
    expected, _ = run(bls_stream(InfoBatch, 30, shuffle=5, num_epochs=5), 2)
    served, _ = run(train, 2, num_workers=1, multiprocessing_context="spawn")
    assert served == expected
    again = copy.deepcopy(train)
    assert again.scores.equal(train.scores)


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


def test_the_loader_of_torch_does_not_serve_a_stream():
    train = bls_stream(InfoBatch, 20)
    with pytest.raises(TypeError, match="no length before its first pass"):
        torch.utils.data.DataLoader(train, batch_size=4, shuffle=True)
    assert train
    run(train, 1)
    with pytest.raises(RuntimeError, match="use the DataLoader of dynaprune"):
        next(iter(torch.utils.data.DataLoader(train, batch_size=4)))


def test_a_look_takes_the_workers_that_live_on_from_the_loop():
    """torch has one iterator then, and begins it anew: no other loop may go on with it."""
    train = bls_stream(NoPrune, 80)
    loader = DataLoader(train, batch_size=4, num_workers=1, persistent_workers=True)
    batches = iter(loader)
    for _ in range(3):
        train.update(mean_loss(next(batches)))
    next(iter(loader))
    with pytest.raises(RuntimeError, match="leave persistent_workers out"):
        list(batches)


def test_what_is_left_of_a_pass_that_is_resumed_is_its_length():
    train = BLS(InfoBatch(stream_of(Stored(100), num_samples=100), 10)).proxy()
    _, state = run(train, stop_after=7, batch_size=10)
    again = BLS(InfoBatch(stream_of(Stored(100), num_samples=100), 10)).proxy()
    again.load_state_dict(state)
    loader = DataLoader(again, batch_size=10)
    assert len(loader) == 3 == len(list(loader))


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


def test_a_copy_of_a_loader_tells_its_workers_itself():
    loader = DataLoader(bls_stream(NoPrune, 20), batch_size=5, num_workers=1)
    assert len(list(loader)) == 4
    other = copy.deepcopy(loader)
    assert len(list(loader)) == len(list(other)) == len(list(loader)) == 4


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


def test_workers_are_told_by_files_that_go_with_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shared = SharedArrays()
    keys = np.arange(5)
    for epoch in range(6):
        shared.publish({"epoch": epoch, "keys": keys, "weights": np.full(5, epoch)})
    copied = pickle.loads(pickle.dumps(shared))
    shared.publish({"epoch": 6, "keys": keys, "weights": np.empty(0)})
    read = copied.read(latest=False)
    assert (read["epoch"], read["weights"].tolist()) == (5, [5] * 5)
    latest = copied.read(latest=True)
    assert (latest["epoch"], latest["keys"].tolist()) == (6, [0, 1, 2, 3, 4])
    assert latest["weights"].size == 0
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["5", "6", "7", "latest"]
    one, other = (folder / issue / "keys.npy" for issue in ("6", "7"))
    assert one.samefile(other)  # what has not changed is not written again
    del shared
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_look_in_the_first_pass_of_a_stream_of_unknown_length():
    train = bls_stream(StaticPrune, 40, saving=0.5)
    loader, steps = DataLoader(train, batch_size=4), 0
    for batch in loader:
        train.update(mean_loss(batch))
        steps += 1
        assert len(next(iter(loader))) == 4
    assert steps == 10
    assert train.epoch == 1
