"""Every loss that a loop may come with."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import Numbers, bls, train_epoch, with_scores
from torch.utils._python_dispatch import TorchDispatchMode

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def weighted(length=64):
    """A dataset in an epoch with weights, and its batches of 16."""
    scores = torch.arange(length) % 7 + 0.5
    train = with_scores(InfoBatch(Numbers(length), 10, prune_ratio=0.4), scores)
    train.epochs.score.needs_loss_vector = False  # takes both, as BLS does
    return train


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (1,)])
def test_mean_losses_of_every_type(dtype, shape):
    train = weighted()
    parameter = torch.ones(shape, dtype=dtype, requires_grad=True)
    for batch in DataLoader(train, batch_size=16):
        weight = train.weights[batch].double().mean().item()
        loss = parameter * 2
        returned = train.update(loss)
        assert returned.shape == ()
        assert returned.dtype == dtype
        eps = torch.finfo(dtype).eps
        assert returned.item() == pytest.approx(2 * weight, rel=2 * eps)
        parameter.grad = None
        returned.backward()
        assert parameter.grad.sum().item() == pytest.approx(2 * weight, rel=2 * eps)
        assert loss.detach().flatten().tolist() == [2.0]  # the user's tensor is as it was


@pytest.mark.parametrize("dtype", FLOATS)
def test_loss_vectors_of_every_type(dtype):
    train = weighted()
    for batch in DataLoader(train, batch_size=16):
        losses = torch.rand(batch.numel(), dtype=torch.float64).to(dtype).requires_grad_()
        weights = train.weights[batch].double()
        returned = train.update(losses)
        eps = torch.finfo(dtype).eps
        assert (returned.shape, returned.dtype) == ((), dtype)
        expected = (weights * losses.detach().double()).mean().item()
        assert returned.item() == pytest.approx(expected, rel=4 * eps)
        returned.backward()
        assert losses.grad.double().tolist() == pytest.approx(
            (weights / batch.numel()).tolist(), rel=4 * eps
        )


@pytest.mark.parametrize("dtype", FLOATS)
def test_scores_keep_the_precision_of_the_type(dtype):
    train = BLS(NoPrune(Numbers(4), 2), alpha=0.0).proxy()
    value = 1.0 + torch.finfo(dtype).eps
    train_epoch(DataLoader(train, batch_size=4), lambda b: torch.tensor(value, dtype=dtype))
    assert train.scores.tolist() == [torch.tensor(value, dtype=torch.float32).item()] * 4


def test_types_may_change_within_an_epoch():
    train = BLS(NoPrune(Numbers(4), 2), alpha=0.0).proxy()
    types = iter(FLOATS)
    order = train_epoch(DataLoader(train), lambda b: torch.tensor(1.5, dtype=next(types)))
    assert len(order) == 4
    assert train.scores.tolist() == [1.5] * 4


def test_a_batch_of_one_takes_any_shape_for_any_score():
    for make in (lambda: InfoBatch(Numbers(3), 2), lambda: bls(InfoBatch, 3)):
        for shape in ((), (1,)):
            train = make()
            returned = [train.update(torch.full(shape, 2.0)) for _ in DataLoader(train)]
            assert [loss.shape for loss in returned] == [()] * 3
            assert train.scores.tolist() == [2.0] * 3


def test_the_loss_may_be_used_and_written_to_afterwards():
    train = BLS(NoPrune(Numbers(8), 2), alpha=0.0).proxy()
    total = torch.zeros(())
    for batch in DataLoader(train, batch_size=4):
        loss = torch.full((), float(batch.numel()), requires_grad=True) * 1.0
        returned = train.update(loss)
        total += loss.detach()
        returned /= 100  # gradient accumulation, in place
        returned.backward()
        loss.detach().zero_()
    assert total.item() == 8
    assert train.scores.tolist() == [4.0] * 8


def test_a_reused_buffer_as_of_a_cuda_graph():
    train = BLS(NoPrune(Numbers(8), 2), alpha=0.0).proxy()
    static = torch.zeros(())
    expected = {}
    for batch in DataLoader(train, batch_size=2):
        static.fill_(float(batch.sum()))
        train.update(static)
        expected.update((i, static.item()) for i in batch.tolist())
    assert train.scores.tolist() == [expected[i] for i in range(8)]


def test_no_grad_and_inference_mode():
    train = BLS(NoPrune(Numbers(8), 2), alpha=0.0).proxy()
    contexts = iter([torch.no_grad(), torch.inference_mode(), torch.enable_grad(), torch.no_grad()])
    for batch in DataLoader(train, batch_size=2):
        with next(contexts):
            train.update(torch.tensor(float(batch.numel())))
    assert train.scores.tolist() == [2.0] * 8


def test_under_autocast():
    model = torch.nn.Linear(3, 2)
    train = with_scores(InfoBatch(Numbers(32), 10), torch.rand(32))
    train.epochs.score.needs_loss_vector = False
    for batch in DataLoader(train, batch_size=8):
        weight = train.weights[batch].double().mean().item()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = model(torch.ones(batch.numel(), 3))
            assert outputs.dtype == torch.bfloat16
            loss = outputs.square().mean()
            inside = train.update(loss)
        assert inside.dtype == loss.dtype
        assert inside.item() == pytest.approx(weight * loss.item(), rel=0.01)
        model.zero_grad()
        inside.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("vector", [False, True])
def test_losses_that_are_not_finite_are_left_out(bad, vector, caplog):
    train = BLS(NoPrune(Numbers(12), 3), alpha=0.0).proxy()
    loader = DataLoader(train, batch_size=4)
    skipped: list[int] = []
    for epoch in range(2):
        for step, batch in enumerate(loader):
            losses = torch.full((4,), 2.0 + epoch) if vector else torch.tensor(2.0 + epoch)
            if step == 0:  # the run's first batch too
                losses.view(-1)[0] = bad
                skipped = batch[:1].tolist() if vector else batch.tolist()
            returned = train.update(losses)
            assert returned.isfinite().item() == (step != 0)  # for a GradScaler to see
        caplog.clear()
        length = len(loader)  # the next plan is made
        assert length == 3
        messages = [record.getMessage() for record in caplog.records]
        expected = f"epoch {epoch}: 1 losses were not finite and were left out of scoring"
        assert messages == [expected]
        scores = train.scores
        assert scores.isfinite().all()
        assert all(scores[i] == 2.0 + epoch for i in range(12) if i not in skipped)
    assert train.summary().losses_left_out == 2


def test_an_epoch_of_nothing_but_nan():
    train = bls(InfoBatch, 12)
    loader = DataLoader(train, batch_size=4)
    train_epoch(loader, lambda batch: torch.tensor(math.nan))
    assert train.scores.tolist() == [0.0] * 12
    assert sum(batch.numel() for batch in loader) == 12  # nothing is known, nothing is pruned
    train_epoch(loader, lambda batch: torch.tensor(1.0))
    assert train.scores.tolist() == [1.0] * 12


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_update_reads_no_loss_and_moves_nothing():
    train = weighted()
    loss = torch.tensor(2.0, requires_grad=True) * 1.0
    for step, batch in enumerate(DataLoader(train, batch_size=16)):
        assert train.weights[batch].mean() > 1
        if step == 0:  # makes room for the next losses
            train.update(loss)
            continue
        with Operations() as operations:
            train.update(loss)
        assert operations.names == ["aten.mul.Tensor", "aten.detach.default", "aten.copy_.default"]
        # a device that has no values at all: nothing could be read from it
    train = bls(NoPrune, 8)
    for _ in DataLoader(train, batch_size=4):
        assert train.update(torch.ones((), device="meta")).device.type == "meta"


def test_indices_on_a_device_are_not_read_either():
    train = with_scores(InfoBatch(Numbers(32), 10), torch.rand(32))
    train.epochs.score.needs_loss_vector = False
    share = train.begin_epoch()
    assert share.plan.weights is not None
    loss, indices = torch.ones((), device="meta"), torch.ones(4, dtype=torch.int64, device="meta")
    returned = train.update(loss, indices=indices)
    with Operations() as operations:
        train.update(loss, indices=indices)
    views = ("aten.detach.default", "aten.view.default")  # which start nothing on a device
    assert [name for name in operations.names if name not in views] == [
        "aten._to_copy.default",
        "aten.clamp.default",
        "aten.index.Tensor",
        "aten.mean.default",
        "aten.mul.Tensor",
        "aten.copy_.default",
    ]
    assert (returned.device.type, returned.dtype) == ("meta", torch.float32)
    returned = train.update(
        torch.ones(4, device="meta"), indices=torch.ones(4, dtype=torch.int32, device="meta")
    )
    assert returned.shape == ()
