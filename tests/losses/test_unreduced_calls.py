"""Calls that are not quite those of torch's losses, and where else a criterion is called."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from torch_losses import BATCH, CASES, SCORES, by_slices, drawn, labels, shares

from dynaprune import chunked

# What is not quite one of torch's


def test_a_module_of_the_users_own_is_called():
    class Doubled(nn.MSELoss):
        def forward(self, input, target):
            return 2 * super().forward(input, target)

    assert chunked(Doubled(), 2)(torch.ones(4), torch.zeros(4)).tolist() == [2.0, 2.0]
    criterion = nn.MSELoss()
    criterion.forward = lambda outputs, targets: outputs.sum()
    assert chunked(criterion, 2)(torch.ones(4), torch.zeros(4)).tolist() == [2.0, 2.0]


def test_a_function_that_takes_the_place_of_torchs_is_called(monkeypatch):
    monkeypatch.setattr(F, "mse_loss", lambda outputs, targets, **settings: outputs.sum())
    assert chunked(nn.MSELoss(), 2)(torch.ones(4), torch.zeros(4)).tolist() == [2.0, 2.0]


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward"])
def test_hooks_run(kind):
    criterion, seen = nn.MSELoss(), []
    getattr(criterion, f"register_{kind}_hook")(lambda *given: seen.append(len(given)))
    outputs = torch.ones(4, requires_grad=True)
    chunked(criterion, 2)(outputs, torch.zeros(4)).sum().backward()
    assert len(seen) == 2


def test_settings_may_change():
    criterion = chunked(nn.CrossEntropyLoss(), 5)
    criterion(SCORES, labels(BATCH))
    criterion.criterion.label_smoothing = 0.3
    expected = by_slices(nn.CrossEntropyLoss(label_smoothing=0.3), 5, (SCORES, labels(BATCH)))
    assert_close(criterion(SCORES, labels(BATCH)), expected)
    criterion.criterion.reduction = "sum"
    expected = by_slices(criterion.criterion, 5, (SCORES, labels(BATCH)))
    assert criterion(SCORES, labels(BATCH)).equal(expected)


def test_other_calls_are_as_they_were():
    given = {"input": SCORES, "target": labels(BATCH)}
    expected = by_slices(nn.CrossEntropyLoss(), 5, tuple(given.values()))
    assert chunked(nn.CrossEntropyLoss(), 5)(**given).equal(expected)
    smooth = chunked(F.cross_entropy, 5)(*given.values(), label_smoothing=0.1)
    assert_close(smooth, by_slices(CASES["smoothing"][0], 5, tuple(given.values())))
    summed = chunked(partial(F.mse_loss, reduction="sum"), 2)(torch.ones(4), torch.zeros(4))
    assert summed.tolist() == [2.0, 2.0]
    bound = chunked(partial(F.mse_loss, torch.tensor(3.0)), 2)
    with pytest.warns(UserWarning, match="target size"):
        assert bound(torch.ones(4)).tolist() == [4.0, 4.0]


def test_torch_warns_of_broadcasting_as_before():
    outputs, targets = torch.arange(4.0)[:, None], torch.arange(4.0)
    with pytest.warns(UserWarning, match="target size"):
        losses = chunked(nn.MSELoss(), 2)(outputs, targets)
    assert losses.tolist() == [0.5, 0.5]  # each of two outputs with each of two targets


def test_torch_warns_of_kl_div_as_before():
    criterion, tensors = nn.KLDivLoss(), CASES["kl"][1]
    with pytest.warns(UserWarning, match="batchmean"):
        losses = chunked(criterion, 5)(*tensors)
    with pytest.warns(UserWarning, match="batchmean"):
        assert losses.equal(by_slices(criterion, 5, tensors))


def test_weights_of_a_slice():
    """Of a shape that fits slices only: nobody means that, but so it was."""
    criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 3.0]))
    losses = chunked(criterion, 2)(torch.zeros(4), torch.ones(4))
    assert losses.tolist() == pytest.approx([2 * 0.6931472] * 2)


@pytest.mark.parametrize(
    ("criterion", "tensors", "message"),
    [
        (nn.CrossEntropyLoss(), (SCORES, labels(BATCH, classes=6)), "Target 5 is out of bounds"),
        (nn.CrossEntropyLoss(), (SCORES, labels(BATCH, 5)), "floating point type"),
        (nn.BCELoss(), (SCORES + 7, shares(BATCH, 5)), "between 0 and 1"),
        (nn.MSELoss(), (SCORES, drawn(BATCH, 4)), "must match the size"),
        (nn.L1Loss(), (labels(BATCH), labels(BATCH)), "dtype"),
        (nn.MSELoss(), (torch.ones(0), torch.ones(0)), "cannot tell the batch size"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_messages_are_those_of_torch(criterion, tensors, message):
    with pytest.raises((RuntimeError, IndexError), match=message):
        chunked(criterion, 5)(*tensors)


# Where else a criterion is called


def test_copies():
    criterion = chunked(nn.CrossEntropyLoss(label_smoothing=0.1), 5)
    expected = criterion(SCORES, labels(BATCH))
    for twin in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert twin(SCORES, labels(BATCH)).equal(expected)


@pytest.mark.parametrize("name", ["cross entropy", "smoothing", "mse", "functions", "partial"])
def test_compiled_as_one_graph(name):
    criterion, tensors = CASES[name]
    for chunks in (5, 13):
        torch._dynamo.reset()
        compiled = torch.compile(chunked(criterion, chunks), fullgraph=True, backend="eager")
        for count in (13, 10, 7):  # other sizes, as of a last batch
            given = tuple(each[:count] for each in tensors)
            assert_close(compiled(*given), chunked(criterion, chunks)(*given), equal_nan=True)


def test_per_sample_gradients():
    criterion, targets = chunked(nn.CrossEntropyLoss(), 5), labels(BATCH)

    def total(scores, targets):
        return criterion(scores, targets).sum()

    whole = torch.func.grad(total)(SCORES, targets)
    many = torch.func.vmap(torch.func.grad(total))(
        SCORES[None].repeat(3, 1, 1), targets.repeat(3, 1)
    )
    assert_close(many[1], whole)
    own = SCORES.clone().requires_grad_()
    by_slices(nn.CrossEntropyLoss(), 5, (own, targets)).sum().backward()
    assert_close(whole, own.grad)


def test_under_autocast():
    scores, targets = SCORES.float(), labels(BATCH)
    layer = nn.Linear(5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = layer(scores)
        assert outputs.dtype == torch.bfloat16
        own = chunked(nn.CrossEntropyLoss(), 5)(outputs, targets)
        expected = by_slices(nn.CrossEntropyLoss(), 5, (outputs, targets))
    assert own.dtype == expected.dtype
    assert_close(own, expected)
