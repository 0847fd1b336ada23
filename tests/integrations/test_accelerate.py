"""Accelerate: fetches a batch ahead, and must not divide an epoch that is divided already."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from helpers import Numbers, bls, mean_loss
from ranks import environment_of_torchrun, free_port, on_ranks
from streams import bls_stream
from torch import nn

from dynaprune import (
    BLS,
    DataLoader,
    InfoBatch,
    NoPrune,
    PrunedScheduler,
    PruningSampler,
    RandomPrune,
    Sharded,
)
from dynaprune.integrations.accelerate import _RepeatedSamples, fetch_through, prepare
from dynaprune.planning.share import ShareRequest

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]


@pytest.fixture(autouse=True)
def _fresh_state():
    yield
    Accelerator(cpu=True).free_memory()
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def run(train, loader, epochs=4, stop_after=None):
    served = []
    for epoch in range(train.epoch, epochs):
        length, before = len(loader), len(served)
        for batch in loader:
            train.update(mean_loss(batch))
            served.append((epoch, batch.tolist()))
            if len(served) == stop_after:
                return served
        assert len(served) - before == length
    return served


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_same_batches_as_without_it(workers, drop_last):
    plain, prepared = bls(InfoBatch, 60), bls(InfoBatch, 60)
    expected = run(plain, DataLoader(plain, batch_size=7, drop_last=drop_last))
    loader = DataLoader(prepared, batch_size=7, drop_last=drop_last, num_workers=workers)
    loader = prepare(Accelerator(cpu=True), loader)
    assert isinstance(loader, DataLoader)
    assert loader.batches_per_full_epoch == (8 if drop_last else 9)
    assert run(prepared, loader) == expected
    assert prepared.scores.equal(plain.scores)
    assert prepared.summary().visits_avoided > 0


def test_a_stream_is_served_as_without_it():
    plain, prepared = bls_stream(InfoBatch, 60), bls_stream(InfoBatch, 60)
    loader = prepare(Accelerator(cpu=True), DataLoader(prepared, batch_size=7))
    served = []
    for train, batches in ((plain, DataLoader(plain, batch_size=7)), (prepared, loader)):
        served.append([])
        for _ in range(4):
            for batch in batches:
                train.update(mean_loss(batch))
                served[-1].append(batch.tolist())
    assert served[0] == served[1]
    assert prepared.scores.equal(plain.scores)
    assert prepared.summary().visits_avoided > 0


def test_models_are_prepared_as_by_the_accelerator():
    accelerator = Accelerator(cpu=True)
    model, train = nn.Linear(1, 1), bls(InfoBatch, 60)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(train, batch_size=7)
    prepared = prepare(accelerator, model, optimizer, loader)
    assert prepared[0] is model
    assert type(prepared[1]).__name__ == "AcceleratedOptimizer"
    assert prepared[2] is loader
    assert prepare(accelerator, loader) is loader  # once more does no harm
    assert accelerator._custom_objects == [train]
    other = DataLoader(train, batch_size=20)  # over the same dataset
    prepare(accelerator, loader, other)
    assert accelerator._custom_objects == [train]


@pytest.mark.parametrize("length", [60, 50])
def test_accumulation_steps_at_the_end_of_every_epoch(length):
    """Epochs are of different lengths; the accelerator has to know where each one ends."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=3)
    model, train = nn.Linear(1, 1), bls(InfoBatch, length)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, loader = prepare(
        accelerator, model, optimizer, DataLoader(train, batch_size=7)
    )
    for _ in range(5):
        batches = len(loader)
        steps = []
        for batch in loader:
            with accelerator.accumulate(model):
                loss = train.update(model(batch[:, None].float()).square().mean() / 1e6)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                steps.append(accelerator.sync_gradients)
        assert steps == [(i + 1) % 3 == 0 or i + 1 == batches for i in range(batches)]


@pytest.mark.parametrize("steps", [3, 9, 14])
def test_saved_and_loaded_in_the_middle_of_an_epoch(steps, tmp_path):
    whole = bls(InfoBatch, 60)
    expected = run(whole, DataLoader(whole, batch_size=7))
    accelerator, train = Accelerator(cpu=True), bls(InfoBatch, 60)
    loader = prepare(accelerator, DataLoader(train, batch_size=7))
    served = []
    for _, batch in zip(range(steps), (b for _ in range(9) for b in loader), strict=False):
        train.update(mean_loss(batch))
        served.append(batch.tolist())
        if len(served) == steps:
            accelerator.save_state(str(tmp_path / "state"))
    accelerator, train = Accelerator(cpu=True), bls(InfoBatch, 60)
    loader = prepare(accelerator, DataLoader(train, batch_size=7))
    accelerator.load_state(str(tmp_path / "state"))
    served += [batch for _, batch in run(train, loader)]
    assert served == [batch for _, batch in expected]
    assert train.scores.equal(whole.scores)


@pytest.mark.parametrize(
    "arguments",
    [{"split_batches": True}, {"dispatch_batches": True}],
)
def test_accelerators_that_divide_batches_are_refused(arguments):
    from accelerate.utils import DataLoaderConfiguration

    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**arguments))
    with pytest.raises(ValueError, match=f"made with {next(iter(arguments))}=True, but a pruned"):
        prepare(accelerator, DataLoader(bls(NoPrune, 10)))


def test_loaders_of_other_datasets():
    accelerator = Accelerator(cpu=True)
    with pytest.raises(TypeError, match="must serve a pruned dataset"):
        fetch_through(accelerator, DataLoader(Numbers(10)))
    loader = prepare(accelerator, DataLoader(Numbers(10), batch_size=5))
    assert type(loader).__name__ == "DataLoaderShard"  # as without dynaprune


def test_its_own_prepare_is_found_out():
    train = bls(NoPrune, 10)
    loader = Accelerator(cpu=True).prepare(DataLoader(train, batch_size=5))
    for batch in loader:
        with pytest.raises(RuntimeError, match=r"dynaprune\.integrations\.accelerate"):
            train.update(mean_loss(batch))


def gathered(accelerator, train, loader, epochs):
    """Train, and return what gather_for_metrics makes of each epoch, with its plan."""
    found = []
    for _ in range(epochs):
        plan = sorted(train.begin_epoch().plan.order.tolist())
        samples = []
        for batch in loader:
            samples += accelerator.gather_for_metrics(batch).tolist()
            train.update(mean_loss(batch))
        found.append((plan, sorted(samples)))
    return found


@pytest.mark.parametrize("drop_last", [False, True])
def test_metrics_are_gathered_of_all_that_is_served(drop_last):
    """Of 60 samples, 4 would be left for the last batch; of a pruned epoch's, others are."""
    accelerator, train = Accelerator(cpu=True), bls(InfoBatch, 60)
    loader = prepare(accelerator, DataLoader(train, batch_size=7, drop_last=drop_last))
    lengths = set()
    for plan, samples in gathered(accelerator, train, loader, 6):
        lengths.add(len(plan) % 7)
        if drop_last:
            assert len(samples) == len(plan) - len(plan) % 7
            assert set(samples) <= set(plan)
        else:
            assert samples == plan
    assert len(lengths) > 2


def test_state_goes_with_whatever_accelerator_prepares_the_loader(tmp_path):
    """As after free_memory, or for another model."""
    train = bls(InfoBatch, 60)
    loader = DataLoader(train, batch_size=7)
    prepare(Accelerator(cpu=True), loader)
    run(train, loader, epochs=2)
    accelerator = Accelerator(cpu=True)
    accelerator.free_memory(loader)
    assert prepare(accelerator, loader) is loader
    accelerator.save_state(str(tmp_path))
    other = bls(InfoBatch, 60)
    accelerator = Accelerator(cpu=True)
    prepare(accelerator, DataLoader(other, batch_size=7))
    accelerator.load_state(str(tmp_path))
    assert other.scores.equal(train.scores)
    assert other.epoch == 2


@pytest.mark.parametrize(
    "options", [{"even_batches": False}, {"use_seedable_sampler": True, "data_seed": 3}, "stateful"]
)
def test_what_is_of_dividing_loaders_has_no_effect(options, tmp_path):
    from accelerate.utils import DataLoaderConfiguration

    options = {"use_stateful_dataloader": True} if options == "stateful" else options
    plain = bls(InfoBatch, 60)
    expected = run(plain, DataLoader(plain, batch_size=7))

    def prepared():
        config = DataLoaderConfiguration(**options)
        accelerator = Accelerator(cpu=True, dataloader_config=config)
        train = bls(InfoBatch, 60)
        return accelerator, train, prepare(accelerator, DataLoader(train, batch_size=7))

    accelerator, train, loader = prepared()
    served = []
    for batch in loader:  # saved in the middle of the first epoch
        train.update(mean_loss(batch))
        served.append((0, batch.tolist()))
        if len(served) == 3:
            accelerator.save_state(str(tmp_path))
            break
    accelerator, train, loader = prepared()
    accelerator.load_state(str(tmp_path))
    assert served + run(train, loader) == expected
    assert train.scores.equal(plain.scores)


def test_batches_that_are_skipped_by_accelerate():
    train = bls(InfoBatch, 60)
    accelerator = Accelerator(cpu=True)
    loader = prepare(accelerator, DataLoader(train, batch_size=7))
    for batch in accelerator.skip_first_batches(loader, 2):
        with pytest.raises(RuntimeError, match="before a batch was served by dynaprune.DataLoader"):
            train.update(mean_loss(batch))


def test_samples_that_carry_their_index_through_its_own_prepare():
    plain, train = bls(InfoBatch, 60), bls(InfoBatch, 60)
    run(plain, DataLoader(plain, batch_size=7))
    other = torch.utils.data.DataLoader(train.with_indices(), batch_size=7, sampler=train.sampler)
    loader = Accelerator(cpu=True).prepare(other)
    for _ in range(4):
        for batch, indices in loader:
            train.update(mean_loss(batch), indices=indices)
        train.end_epoch()
    assert train.scores.equal(plain.scores)


def test_a_schedule_that_accelerate_has_prepared(monkeypatch):
    """It would step once for each of the two processes."""
    from accelerate.state import AcceleratorState

    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 18)
    optimizer, schedule = accelerator.prepare(optimizer, schedule)
    monkeypatch.setattr(AcceleratorState, "num_processes", 2, raising=False)
    train = bls(NoPrune, 60, num_epochs=2)
    loader = DataLoader(train, batch_size=7)
    scheduler = PrunedScheduler(schedule, loader, steps_per_full_epoch=9)
    rates = []
    for _ in range(2):
        for batch in loader:
            train.update(mean_loss(batch))
            optimizer.step()
            scheduler.step()
            rates += scheduler.get_last_lr()
    assert rates == [1 - step / 18 for step in range(1, 19)]


def on_two_ranks(rank, port, folder):
    environment_of_torchrun(rank, 2, port)
    accelerator = Accelerator(cpu=True)
    train = bls(InfoBatch, 61)
    loader = prepare(accelerator, DataLoader(train, batch_size=4))
    epochs = []
    for _ in range(3):
        plan = train.begin_epoch().plan.order.tolist()
        epochs.append((plan, [batch for _, batch in run(train, loader, train.epoch + 1)]))
    measured = bls(InfoBatch, 61)
    metrics = gathered(
        accelerator, measured, prepare(accelerator, DataLoader(measured, batch_size=4)), 4
    )
    parts = parts_on_two_ranks(folder)
    return (
        epochs,
        train.scores,
        accelerator.num_processes,
        metrics,
        parts,
        divided_once(accelerator),
    )


def divided_once(accelerator):
    """What Accelerate's own prepare serves of epochs that it divides: by epoch, with its plan."""
    train = bls(RandomPrune, 64)
    sampler = PruningSampler(train, world_size=1)
    loader = torch.utils.data.DataLoader(train.with_indices(), batch_size=4, sampler=sampler)
    loader = accelerator.prepare(loader)
    found = []
    for _ in range(2):
        plan = sorted(train.begin_epoch(ShareRequest(1, 0)).plan.order.tolist())
        served = []
        for batch, indices in loader:
            train.update(mean_loss(batch), indices=indices)
            served += batch.tolist()
        train.end_epoch()
        found.append((plan, served))
    return found


def parts_on_two_ranks(folder):
    """A rank's part of the samples, saved in the middle of an epoch and loaded; and its file."""

    def prepared():
        accelerator = Accelerator(cpu=True)
        train = BLS(RandomPrune(Sharded(Numbers(61)), num_epochs=10)).proxy()
        return accelerator, train, prepare(accelerator, DataLoader(train, batch_size=4))

    _, whole, loader = prepared()
    expected = run(whole, loader)
    accelerator, train, loader = prepared()
    served = []
    for batch in loader:
        train.update(mean_loss(batch))
        served.append((0, batch.tolist()))
        if len(served) == 2:
            accelerator.save_state(f"{folder}/parts")
            break
    accelerator, train, loader = prepared()
    prepare(accelerator, loader)  # once more does no harm
    accelerator.load_state(f"{folder}/parts")
    served += run(train, loader)
    return served == expected, train.scores.equal(whole.scores), len(accelerator._custom_objects)


def test_two_ranks_divide_an_epoch_once(tmp_path):
    ranks = on_ranks(2, on_two_ranks, free_port(), str(tmp_path))
    assert ranks[0][1].equal(ranks[1][1])
    assert ranks[0][2] == 2
    for (plan, first), (_, second) in zip(ranks[0][0], ranks[1][0], strict=True):
        together = [i for batch in first + second for i in batch]
        assert set(together) == set(plan)
        assert len(together) == len(plan) + len(plan) % 2
    for (plan, first), (_, second) in zip(ranks[0][5], ranks[1][5], strict=True):
        assert sorted(first + second) == plan
    for *_, metrics, parts, _ in ranks:
        assert all(samples == plan for plan, samples in metrics)  # what is repeated is left out
        assert parts == (True, True, 0)
    assert any(len(plan) % 2 for plan, _ in ranks[0][3])
    assert sorted(path.name for path in (tmp_path / "parts").glob("pruning*")) == [
        "pruning_0.pt",
        "pruning_1.pt",
    ]


@pytest.mark.parametrize(
    ("kept", "ranks", "batch_size", "expected"),
    [
        (12, 4, 2, 0),  # three for each rank, and nothing is repeated
        (11, 4, 2, 3),  # one of each, the last rank's once more
        (9, 4, 2, 1),  # one of each, and three of them are repeated
        (15, 4, 2, 7),  # two of each, the last rank's second one is repeated
        (13, 4, 2, 0),  # two of each, of which three ranks repeat one: not at the end
        (13, 4, 3, 1),  # a batch of three, and one
    ],
)
def test_what_is_kept_of_the_last_batches(kept, ranks, batch_size, expected):
    each = -(-kept // ranks)
    last = _RepeatedSamples(left=each, repeated=ranks * each - kept, ranks=ranks)
    sizes = [min(batch_size, each - at) for at in range(0, each, batch_size)]
    assert [last.remainder(size) for size in sizes] == [0] * (len(sizes) - 1) + [expected]


def test_ranks_of_which_some_train_on_the_same_samples(monkeypatch):
    """Accelerate counts all four, as in tensor parallelism; the process group says which ones."""
    from dynaprune.training.distributed import Ranks

    monkeypatch.setattr(Accelerator, "num_processes", 4)
    train = bls(NoPrune, 10)
    with pytest.raises(RuntimeError, match=r"counts 4 process.* runs with 1"):
        prepare(Accelerator(cpu=True), DataLoader(train))
    monkeypatch.setattr(Ranks, "world_size", 2)
    train.process_group = object()
    prepare(Accelerator(cpu=True), DataLoader(train))


def test_ranks_that_accelerate_does_not_count(monkeypatch):
    from dynaprune.training.distributed import Ranks

    monkeypatch.setattr(Ranks, "world_size", 2)
    with pytest.raises(RuntimeError, match=r"counts 1 process.* runs with 2: each would"):
        prepare(Accelerator(cpu=True), DataLoader(bls(NoPrune, 10)))
