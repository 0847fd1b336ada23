"""A criterion on slices of a batch: what is cut, how, and what comes back."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from test_losses import FLOATS
from torch import Tensor, nn
from transformers import BatchEncoding
from transformers.modeling_outputs import SequenceClassifierOutput

from dynaprune import chunked

Pair = namedtuple("Pair", ["logits", "extra"])


@dataclass(frozen=True)
class Frozen:
    logits: Tensor
    name: str = "heads"


LOGITS = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(9) % 3
SLICES = [slice(0, 3), slice(3, 6), slice(6, 9)]


def seen_by(chunks: int, *arguments: Any, lists: Any = None, **keywords: Any) -> list[Any]:
    """Return what a criterion is called with, slice by slice."""
    seen = []

    def criterion(*cut, **named):
        seen.append((*cut, named) if named else cut)
        return torch.zeros(())

    losses = chunked(criterion, chunks, lists=lists)(*arguments, **keywords)
    assert losses.shape == (len(seen),)
    return seen


@pytest.mark.parametrize(
    ("batch_size", "chunks", "sizes"),
    [
        (9, 1, [9]),
        (9, 2, [5, 4]),
        (9, 3, [3, 3, 3]),
        (9, 4, [3, 3, 3]),  # four slices of one size cannot be
        (9, 5, [2, 2, 2, 2, 1]),
        (9, 9, [1] * 9),
        (9, 100, [1] * 9),
        (1, 8, [1]),
        (128, 8, [16] * 8),
    ],
)
def test_sizes_are_those_of_torch_chunk(batch_size, chunks, sizes):
    data = torch.arange(batch_size).float()
    seen = seen_by(chunks, data, torch.ones(batch_size))
    assert [each[0].numel() for each in seen] == sizes
    assert torch.cat([each[0] for each in seen]).equal(data)
    assert [each.numel() for each in data.chunk(chunks)] == sizes


@pytest.mark.parametrize("chunks", [1, 2, 3, 4, 9])
def test_together_they_are_the_mean_and_have_its_gradient(chunks):
    logits = LOGITS.double().requires_grad_()
    expected = nn.functional.cross_entropy(logits, LABELS)
    (gradient,) = torch.autograd.grad(expected, logits)
    losses = chunked(nn.CrossEntropyLoss(), chunks)(logits, LABELS)
    sizes = torch.tensor([each.numel() for each in LABELS.chunk(chunks)])
    mean = (losses * sizes).sum() / 9
    (own,) = torch.autograd.grad(mean, logits)
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(own, gradient)
    each = nn.functional.cross_entropy(logits, LABELS, reduction="none")
    torch.testing.assert_close(losses, torch.stack([part.mean() for part in each.chunk(chunks)]))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_type_is_kept(dtype):
    losses = chunked(nn.MSELoss(), 2)(torch.ones(4, dtype=dtype), torch.zeros(4, dtype=dtype))
    assert losses.dtype == dtype
    assert losses.tolist() == [1.0, 1.0]


def test_nothing_is_read():
    labels = torch.zeros(4, dtype=torch.int64, device="meta")
    losses = chunked(nn.CrossEntropyLoss(), 2)(torch.ones(4, 3, device="meta"), labels)
    assert (losses.device.type, losses.shape) == ("meta", (2,))


# What is cut


def holding(logits: Any) -> list[Any]:
    return [
        {"logits": logits, "scale": 2.0, "none": None},
        OrderedDict(logits=logits),
        UserDict(logits=logits),
        MappingProxyType({"logits": logits}),
        SequenceClassifierOutput(logits=logits),
        BatchEncoding({"logits": logits}),
        Pair(logits, "extra"),
        Frozen(logits),
    ]


@pytest.mark.parametrize("kind", range(8))
def test_what_holds_tensors_by_name_keeps_its_type(kind):
    outputs = holding(LOGITS)[kind]
    seen = seen_by(3, outputs, LABELS)
    for (cut, labels), part in zip(seen, SLICES, strict=True):
        assert type(cut) is type(outputs) or (type(cut) is dict and kind == 3)
        logits = cut.logits if hasattr(cut, "logits") else cut["logits"]
        assert logits.equal(LOGITS[part])
        assert labels.equal(LABELS[part])
    assert (outputs.logits if hasattr(outputs, "logits") else outputs["logits"]) is LOGITS
    if kind == 0:
        assert (cut["scale"], cut["none"]) == (2.0, None)
    if kind in (4, 5):  # by key as well as by attribute
        assert cut["logits"].equal(LOGITS[6:])
    if kind == 6:
        assert cut.extra == "extra"
    if kind == 7:
        assert cut.name == "heads"


@pytest.mark.parametrize("kind", [tuple, list])
def test_lists_of_parts(kind):
    outputs = kind([LOGITS, {"deep": kind([LOGITS[:, 0], None, 0.5])}])
    for (cut, labels), part in zip(seen_by(3, outputs, LABELS), SLICES, strict=True):
        assert type(cut) is kind
        assert cut[0].equal(LOGITS[part])
        assert type(cut[1]["deep"]) is kind
        assert cut[1]["deep"][0].equal(LOGITS[part, 0])
        assert cut[1]["deep"][1:] == kind([None, 0.5])
        assert labels.equal(LABELS[part])


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize(
    "samples",
    [
        [torch.zeros(count, 4) for count in (3, 1, 9, 4, 1, 5, 9, 2, 6)],
        [{"boxes": torch.zeros(count, 4)} for count in (3, 1, 9, 4, 1, 5, 9, 2, 6)],
        [f"sentence {i}" for i in range(9)],
        [torch.tensor(i) for i in range(9)],
        list(range(9)),
    ],
)
def test_lists_of_samples(kind, samples):
    samples = kind(samples)
    for (_, cut), part in zip(seen_by(3, LOGITS, samples), SLICES, strict=True):
        assert type(cut) is kind
        assert len(cut) == 3
        assert all(ours is theirs for ours, theirs in zip(cut, samples[part], strict=True))


def test_lists_alone_tell_the_batch_size_too():
    boxes = [torch.zeros(count, 4) for count in (3, 1, 4)]
    assert [len(first) for first, _ in seen_by(3, boxes, ["a", "b", "c"])] == [1, 1, 1]
    boxes = [torch.zeros(count, 4) for count in (3, 1, 9, 4, 1, 5, 9, 2, 6)]
    for (parts, samples), part in zip(
        seen_by(3, (LOGITS, LOGITS[:, 0]), boxes), SLICES, strict=True
    ):
        assert parts[0].equal(LOGITS[part])
        assert all(ours is theirs for ours, theirs in zip(samples, boxes[part], strict=True))


def test_what_is_of_no_batch_goes_to_each_call():
    extra = (None, 1.5, "word", torch.tensor(2.0), object(), torch.Size([7, 7]), len, None)
    seen = seen_by(3, LOGITS, LABELS, *extra, smoothing=0.1, weights=LABELS)
    for each, part in zip(seen, SLICES, strict=True):
        assert all(ours is theirs for ours, theirs in zip(each[2:10], extra, strict=True))
        assert each[10]["smoothing"] == 0.1
        assert each[10]["weights"].equal(LABELS[part])


def test_arrays_and_empty_lists():
    array = np.arange(9)
    for (_, cut, empty, nothing), part in zip(
        seen_by(3, LOGITS, array, [], (None, None)), SLICES, strict=True
    ):
        assert np.array_equal(cut, array[part])
        assert (empty, nothing) == ([], (None, None))


# What nobody can tell


def test_what_shapes_do_not_tell_has_to_be_said():
    two = (LOGITS[:2], LOGITS[2:4])
    with pytest.raises(RuntimeError, match=r"of 2 samples, or a list of parts.*lists=\"parts\""):
        seen_by(2, two, LABELS[:2])
    parts = seen_by(2, two, LABELS[:2], lists="parts")
    assert [each[0][1].shape for each in parts] == [(1, 3), (1, 3)]
    samples = seen_by(2, two, LABELS[:2], lists="samples")
    assert [len(each[0]) for each in samples] == [1, 1]
    assert samples[1][0][0] is two[1]
    # without anything but lists
    parts, labels = (LOGITS, LOGITS), [LABELS, LABELS]
    with pytest.raises(RuntimeError, match=r"a batch of 2 or 9 samples: 0: a tuple of 2 \(a Tens"):
        seen_by(3, parts, labels)
    assert len(seen_by(3, parts, labels, lists="parts")) == 3
    assert len(seen_by(3, parts, labels, lists="samples")) == 2
    assert len(seen_by(1, two, LABELS[:2])) == 1  # nothing is cut


def test_a_word_decides_nothing_that_shapes_tell():
    boxes = [torch.zeros(count, 4) for count in (3, 1, 4)]
    layers = [LOGITS[:3], LOGITS[3:6]]
    for lists in ("parts", "samples"):
        for index, (cut, own, _) in enumerate(seen_by(3, layers, boxes, LABELS[:3], lists=lists)):
            assert [each.shape for each in cut] == [(1, 3), (1, 3)]
            assert own == [boxes[index]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((LOGITS, LABELS[:8]), r"sizes there: 0: a Tensor of shape \(9, 3\), 1: .*\(8,\)"),
        (({"a": LOGITS}, LABELS[:8]), r"sizes there: 0: a: a Tensor of shape \(9, 3\), 1"),
        ((LOGITS, LABELS, torch.ones(3)), r"differ.*functools.partial\(criterion, weight=weight\)"),
        ((LOGITS, ["a"] * 8), r"the arguments do not agree on it: .* a list of 8 \(a str, a str"),
        ((LOGITS, [LABELS, LABELS[:4]]), r"do not agree on it.* a list of 2"),
        ((["a"] * 8, ["b"] * 9), "the arguments do not agree on it"),
        ((torch.tensor(1.0), "word"), "cannot tell the batch size"),
        ((torch.ones(0, 3), torch.ones(0)), "cannot tell the batch size"),
        ((), "cannot tell the batch size"),
    ],
)
def test_what_does_not_agree(arguments, message):
    with pytest.raises(RuntimeError, match=message):
        seen_by(3, *arguments)


# Criteria


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.ones(3), r"for 3 samples it returned torch.float32 of shape \(3,\).*reduction"),
        (torch.ones(3, 2), r"shape \(3, 2\)"),
        (torch.tensor(1), r"torch.int64 of shape \(\)"),
        (1.0, "a float"),
        ((torch.tensor(1.0), {}), "a tuple"),
    ],
)
def test_what_is_no_single_number(returned, message):
    with pytest.raises(RuntimeError, match=message):
        chunked(lambda *arguments: returned, 3)(LOGITS, LABELS)
    if isinstance(returned, Tensor) and returned.dim() == 1:
        with pytest.raises(RuntimeError, match="for 9 samples"):
            chunked(lambda *arguments: returned, 1)(LOGITS, LABELS)


def test_bad_arguments():
    with pytest.raises(TypeError, match="criterion must be a function .* a str was given"):
        chunked("cross entropy", 3)
    for wrong in (1.5, True, "8", None):
        with pytest.raises(TypeError, match="chunks must be an integer"):
            chunked(nn.MSELoss(), wrong)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="chunks must be at least 1"):
            chunked(nn.MSELoss(), wrong)
    with pytest.raises(ValueError, match='lists must be "parts" or "samples", but \'all\''):
        chunked(nn.MSELoss(), 2, lists="all")
    for reduction in ("none", "sum"):
        with pytest.raises(ValueError, match=f"MSELoss was made with reduction='{reduction}'"):
            chunked(nn.MSELoss(reduction=reduction), 2)
    chunked(nn.KLDivLoss(reduction="batchmean"), 2)


def test_class_weights_are_bound():
    weight = torch.tensor([1.0, 2.0, 3.0])
    criterion = partial(nn.functional.cross_entropy, weight=weight)
    losses = chunked(criterion, 3)(LOGITS, LABELS)
    expected = [criterion(LOGITS[part], LABELS[part]) for part in SLICES]
    torch.testing.assert_close(losses, torch.stack(expected))


class Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.scale * nn.functional.cross_entropy(outputs, targets)


def test_a_criterion_with_parameters():
    criterion = chunked(Learned(), chunks=3)
    assert criterion.chunks == 3
    assert isinstance(criterion.criterion, Learned)
    assert list(criterion.state_dict()) == ["criterion.scale"]
    criterion(LOGITS, LABELS).mean().backward()
    assert criterion.criterion.scale.grad.item() > 0
    assert criterion.double().criterion.scale.dtype == torch.float64
    for twin in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert twin(LOGITS, LABELS).equal(criterion(LOGITS, LABELS))
    assert "chunks=3" in repr(criterion)


def test_a_last_batch_as_short_as_a_list_in_it_is_not_cut():
    """A pair of outputs for two samples may be anything; for others it was told what it is."""

    def pair(outputs, labels):
        logits, auxiliary = outputs
        return sum(nn.functional.cross_entropy(each, labels) for each in (logits, auxiliary))

    def given(count):
        return (torch.randn(count, 3), torch.randn(count, 3)), torch.arange(count) % 3

    with pytest.raises(RuntimeError, match="cannot tell whether"):
        chunked(pair, chunks=2)(*given(2))
    sliced = chunked(pair, chunks=2)
    assert sliced(*given(8)).shape == (2,)
    last = given(2)
    assert sliced(*last).tolist() == [pair(*last).item()]
