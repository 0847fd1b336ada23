"""The losses of torch that are called once for all slices: each beside itself, slice by slice."""

from __future__ import annotations

import copy
import inspect
import pickle
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_losses import Operations
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close

from dynaprune import chunked
from dynaprune.losses.unreduced import LOSSES

BATCH = 13


def drawn(*shape: int) -> Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.double
    )


def labels(*shape: int, classes: int = 5) -> Tensor:
    return torch.arange(torch.Size(shape).numel()).reshape(shape) * 7 % classes


def shares(*shape: int) -> Tensor:
    return drawn(*shape).softmax(1)


def signs(*shape: int) -> Tensor:
    return 1.0 - 2 * labels(*shape, classes=2).double()


def some_ignored(*shape: int, index: int = -100) -> Tensor:
    """Labels of which a third is ignored, and all of samples 3 and 4."""
    result = labels(*shape)
    result.view(-1)[::3] = index
    result[3:5] = index
    return result


def several_labels() -> Tensor:
    """Up to five labels a sample, a −1 behind the last one."""
    result = torch.stack(
        [torch.randperm(5, generator=torch.Generator().manual_seed(i)) for i in range(BATCH)]
    )
    result[torch.arange(BATCH), torch.arange(BATCH) % 4 + 1] = -1
    return result


SCORES, IMAGES = drawn(BATCH, 5), drawn(BATCH, 5, 3, 2)

CASES: dict[str, tuple[Any, tuple[Tensor, ...]]] = {
    "cross entropy": (nn.CrossEntropyLoss(), (SCORES, labels(BATCH))),
    "smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), (SCORES, labels(BATCH))),
    "ignored": (nn.CrossEntropyLoss(), (SCORES, some_ignored(BATCH))),
    "ignored 2": (nn.CrossEntropyLoss(ignore_index=2), (SCORES, labels(BATCH))),
    "ignored, smoothing": (
        nn.CrossEntropyLoss(label_smoothing=0.1),
        (SCORES, some_ignored(BATCH)),
    ),
    "probabilities": (nn.CrossEntropyLoss(label_smoothing=0.1), (SCORES, shares(BATCH, 5))),
    "images": (nn.CrossEntropyLoss(), (IMAGES, labels(BATCH, 3, 2))),
    "images, ignored": (
        nn.CrossEntropyLoss(ignore_index=255),
        (IMAGES, some_ignored(BATCH, 3, 2, index=255)),
    ),
    "images, probabilities": (nn.CrossEntropyLoss(), (IMAGES, shares(BATCH, 5, 3, 2))),
    "nll": (nn.NLLLoss(), (SCORES.log_softmax(1), labels(BATCH))),
    "nll, ignored": (nn.NLLLoss(ignore_index=1), (IMAGES.log_softmax(1), labels(BATCH, 3, 2))),
    "mse": (nn.MSELoss(), (SCORES, drawn(BATCH, 5) + 1)),
    "mse, one dimension": (nn.MSELoss(), (drawn(BATCH), signs(BATCH))),
    "l1": (nn.L1Loss(), (IMAGES, signs(BATCH, 5, 3, 2))),
    "smooth l1": (nn.SmoothL1Loss(beta=0.5), (SCORES, signs(BATCH, 5))),
    "huber": (nn.HuberLoss(delta=0.5), (SCORES, signs(BATCH, 5))),
    "soft margin": (nn.SoftMarginLoss(), (SCORES, signs(BATCH, 5))),
    "hinge": (nn.HingeEmbeddingLoss(margin=0.7), (SCORES, signs(BATCH, 5))),
    "poisson": (nn.PoissonNLLLoss(full=True), (SCORES, labels(BATCH, 5).double())),
    "poisson, no log": (
        nn.PoissonNLLLoss(log_input=False, eps=0.1),
        (SCORES.exp(), labels(BATCH, 5).double()),
    ),
    "gaussian": (nn.GaussianNLLLoss(full=True), (SCORES, signs(BATCH, 5), shares(BATCH, 5))),
    "kl": (nn.KLDivLoss(reduction="batchmean"), (SCORES.log_softmax(1), shares(BATCH, 5))),
    "kl, logs": (
        nn.KLDivLoss(reduction="batchmean", log_target=True),
        (IMAGES.log_softmax(1), shares(BATCH, 5, 3, 2).log()),
    ),
    "bce": (nn.BCELoss(), (SCORES.sigmoid(), shares(BATCH, 5))),
    "bce, weight": (
        nn.BCELoss(weight=torch.arange(5.0).double()),
        (SCORES.sigmoid(), shares(BATCH, 5)),
    ),
    "logits": (nn.BCEWithLogitsLoss(), (drawn(BATCH), labels(BATCH, classes=2).double())),
    "logits, weights": (
        nn.BCEWithLogitsLoss(
            weight=torch.arange(5.0).double(), pos_weight=torch.arange(5.0).double()[None]
        ),
        (SCORES, shares(BATCH, 5)),
    ),
    "margins": (nn.MultiMarginLoss(margin=0.7), (SCORES, labels(BATCH))),
    "margins, weights": (
        nn.MultiMarginLoss(p=2, weight=torch.arange(5.0).double()),
        (SCORES, labels(BATCH)),
    ),
    "label margins": (nn.MultiLabelMarginLoss(), (SCORES, several_labels())),
    "label soft margins": (
        nn.MultiLabelSoftMarginLoss(weight=torch.arange(5.0).double()),
        (SCORES, shares(BATCH, 5)),
    ),
    "cosine": (
        nn.CosineEmbeddingLoss(margin=0.1),
        (SCORES, drawn(BATCH, 5) + 1, signs(BATCH)),
    ),
    "ranking": (
        nn.MarginRankingLoss(margin=0.1),
        (drawn(BATCH), drawn(BATCH) + signs(BATCH), signs(BATCH)),
    ),
    "triplets": (
        nn.TripletMarginLoss(swap=True),
        (SCORES, SCORES + signs(BATCH, 5), SCORES.flip(0)),
    ),
    "functions": (F.cross_entropy, (SCORES, labels(BATCH))),
    "partial": (
        partial(F.cross_entropy, label_smoothing=0.2, ignore_index=1, reduction="mean"),
        (SCORES, labels(BATCH)),
    ),
    "partial, mse": (partial(F.mse_loss), (SCORES, signs(BATCH, 5))),
}

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


def parts_of(tensors: tuple[Any, ...], chunks: int) -> list[list[Any]]:
    columns = [
        [each] * len(SCORES.chunk(chunks)) if each.dim() == 0 else each.chunk(chunks)
        for each in tensors
    ]
    return [list(part) for part in zip(*columns, strict=True)]


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


def by_slices(criterion: Any, chunks: int, tensors: tuple[Any, ...]) -> Tensor:
    return torch.stack([criterion(*part) for part in parts_of(tensors, chunks)])


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
