"""Accelerate: fetches a batch ahead, and must not divide an epoch that is divided already."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from accelerate_runs import _fresh_state, gathered, run  # noqa: F401 (a fixture)
from helpers import Numbers, bls, mean_loss
from streams import bls_stream
from torch import nn

from dynaprune import DataLoader, InfoBatch, NoPrune, PrunedScheduler
from dynaprune.integrations.accelerate import fetch_through, prepare

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]


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
