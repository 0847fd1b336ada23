"""Accelerate: fetches a batch ahead, and must not divide an epoch that is divided already."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from helpers import Numbers, bls, mean_loss
from ranks import environment_of_torchrun, free_port, on_ranks
from streams import bls_stream
from torch import nn

from dynaprune import DataLoader, InfoBatch, NoPrune
from dynaprune.integrations.accelerate import fetch_through, prepare

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


def on_two_ranks(rank, port):
    environment_of_torchrun(rank, 2, port)
    accelerator = Accelerator(cpu=True)
    train = bls(InfoBatch, 61)
    loader = prepare(accelerator, DataLoader(train, batch_size=4))
    epochs = []
    for _ in range(3):
        plan = train.begin_epoch().plan.order.tolist()
        epochs.append((plan, [batch for _, batch in run(train, loader, train.epoch + 1)]))
    return epochs, train.scores, accelerator.num_processes


def test_two_ranks_divide_an_epoch_once():
    ranks = on_ranks(2, on_two_ranks, free_port())
    assert ranks[0][1].equal(ranks[1][1])
    assert ranks[0][2] == 2
    for (plan, first), (_, second) in zip(ranks[0][0], ranks[1][0], strict=True):
        together = [i for batch in first + second for i in batch]
        assert set(together) == set(plan)
        assert len(together) == len(plan) + len(plan) % 2


def test_ranks_that_accelerate_does_not_count(monkeypatch):
    from dynaprune.distributed import Ranks

    monkeypatch.setattr(Ranks, "in_step", 2)
    with pytest.raises(RuntimeError, match=r"takes this for 1 process.* runs with 2: each would"):
        prepare(Accelerator(cpu=True), DataLoader(bls(NoPrune, 10)))
