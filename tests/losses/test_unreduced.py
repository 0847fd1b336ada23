"""The losses of torch that are called once for all slices: each beside itself, slice by slice."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from loss_checks import Operations
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close
from torch_losses import BATCH, CASES, SCORES, by_slices, drawn, labels, shares, signs, some_ignored

from dynaprune import chunked
from dynaprune.losses.unreduced import LOSSES

NOT_AT_ONCE: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "class weights": (
        nn.CrossEntropyLoss(weight=torch.arange(1.0, 6.0).double()),
        (SCORES, labels(BATCH)),
    ),
    "class weights, bound": (
        partial(F.cross_entropy, weight=torch.arange(1.0, 6.0).double()),
        (SCORES, labels(BATCH)),
    ),
    "nll, class weights": (
        nn.NLLLoss(weight=torch.arange(1.0, 6.0).double()),
        (SCORES.log_softmax(1), labels(BATCH)),
    ),
    "gaussian, one variance": (
        nn.GaussianNLLLoss(),
        (SCORES, signs(BATCH, 5), shares(BATCH, 5)[:, 1]),
    ),
    "a distance": (
        nn.TripletMarginWithDistanceLoss(distance_function=lambda a, b: (a - b).norm() + a.sum(1)),
        (SCORES, SCORES + 1, SCORES.flip(0)),
    ),
    "unbatched": (nn.CrossEntropyLoss(), (drawn(BATCH), torch.tensor(0))),
    "probabilities, unbatched": (nn.CrossEntropyLoss(), (drawn(BATCH), drawn(BATCH).softmax(0))),
    "a scalar": (nn.MSELoss(), (SCORES, torch.tensor(1.0).double())),
}


class Calls(TorchFunctionMode):
    """Counts the calls of losses."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.inside = False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        is_call = not self.inside and ("loss" in name or "entropy" in name or name == "kl_div")
        self.count += is_call
        self.inside |= is_call
        try:
            return function(*args, **(kwargs or {}))
        finally:
            self.inside &= not is_call


def calls_of(criterion: Any, chunks: int, tensors: tuple[Any, ...]) -> int:
    with Calls() as calls:
        chunked(criterion, chunks)(*tensors)
    return calls.count


def detached(tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    first, *others = tensors
    return first.clone().requires_grad_(), *others


@pytest.mark.parametrize("chunks", [2, 4, 5, 13])  # of 13 samples: last slices have 6, 1, 1 and 1
@pytest.mark.parametrize("name", CASES)
def test_one_call_gives_what_a_call_a_slice_does(name, chunks):
    criterion, tensors = CASES[name]
    ours, theirs = detached(tensors), detached(tensors)
    own = chunked(criterion, chunks)(*ours)
    expected = by_slices(criterion, chunks, theirs)
    assert own.shape == (len(SCORES.chunk(chunks)),)
    # sums of the same numbers, in another order
    assert_close(own, expected, rtol=2e-15, atol=0, equal_nan=True)
    factors = 1 + torch.arange(len(own)).double()
    for losses in (own, expected):
        (losses.nan_to_num(0) * factors).sum().backward()
    assert_close(ours[0].grad, theirs[0].grad, rtol=2e-15, atol=1e-17)
    assert calls_of(criterion, chunks, tensors) == 1


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("name", NOT_AT_ONCE)
def test_what_is_no_plain_mean_is_called_slice_by_slice(name):
    criterion, tensors = NOT_AT_ONCE[name]
    assert chunked(criterion, 5)(*tensors).equal(by_slices(criterion, 5, tensors))
    assert calls_of(criterion, 5, tensors) == 5


def test_a_slice_of_nothing_but_ignored_labels_has_no_mean():
    losses = chunked(nn.CrossEntropyLoss(), BATCH)(SCORES, some_ignored(BATCH))
    assert losses.isnan().nonzero().flatten().tolist() == [0, 3, 4, 6, 9, 12]


def test_a_slice_is_a_mean_over_the_labels_that_it_has():
    scores = torch.tensor([[0.0, 0.0], [5.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    targets = torch.tensor([0, -100, 1, 1])
    losses = chunked(nn.CrossEntropyLoss(), 2)(scores, targets)
    assert losses.tolist() == pytest.approx([0.6931472] * 2)  # ln 2


def test_every_loss_of_torch_is_tested():
    tested = {type(criterion) for criterion, _ in CASES.values()}
    assert {each.module for each in LOSSES} <= tested


@pytest.mark.parametrize("each", LOSSES, ids=lambda each: each.module.__name__)
def test_settings_are_attributes_and_keywords(each):
    parameters = inspect.signature(each.function).parameters
    assert {*each.settings, "reduction"} <= set(parameters)
    named = set(inspect.signature(each.module).parameters)
    assert set(each.settings) == named - {"size_average", "reduce", "reduction"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("chunks", [2, 5, 13])
@pytest.mark.parametrize("name", ["cross entropy", "ignored", "images, ignored", "mse", "logits"])
def test_other_types(name, chunks, dtype):
    criterion, tensors = CASES[name]
    tensors = tuple(each.to(dtype) if each.is_floating_point() else each for each in tensors)
    own = chunked(criterion, chunks)(*tensors)
    assert own.dtype == dtype
    expected = by_slices(
        criterion, chunks, tuple(t.double() if t.is_floating_point() else t for t in tensors)
    )
    assert_close(own.double(), expected, rtol=8 * torch.finfo(dtype).eps, atol=0, equal_nan=True)


def test_a_sum_beyond_float16_is_none():
    scores = torch.tensor([[0.0, 3e4]] * 8).half()
    losses = chunked(nn.CrossEntropyLoss(), 2)(scores, torch.zeros(8, dtype=torch.int64))
    assert losses.tolist() == pytest.approx([3e4] * 2, rel=1e-3)


@pytest.mark.parametrize("chunks", [5, 13])
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_read(name, chunks):
    """But by the loss itself, if it does that: the variances of `GaussianNLLLoss` are."""
    criterion, tensors = CASES[name]

    def names_of(call):
        with Operations() as operations:
            call(*tensors)
        return operations.names

    reads = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.index.Tensor"}
    own = [each for each in names_of(chunked(criterion, chunks)) if each in reads]
    assert own == [each for each in names_of(criterion) if each in reads]


def test_one_loss_a_sample_takes_no_further_operation():
    criterion, outputs, targets = chunked(nn.MSELoss(), BATCH), drawn(BATCH), signs(BATCH)
    with Operations() as operations:
        criterion(outputs, targets)
    assert operations.names == ["aten.mse_loss.default"]
