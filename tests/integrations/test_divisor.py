"""Whether a loss was divided by a number, as its graph tells."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from dynaprune.integrations.transformers._divisor import is_divided_by

NUMBER = 24.0  # labels of all micro-batches, of which this one has six


@pytest.fixture
def losses():
    """The losses of six labels; the model itself divides by the number, too."""
    torch.manual_seed(0)
    model, inputs = torch.nn.Linear(5, 4), torch.randn(6, 5)
    return lambda: cross_entropy(
        model(inputs) / NUMBER, torch.tensor([0, 1, 2, 3, 0, 1]), reduction="none"
    )


@pytest.mark.parametrize(
    "divide",
    [
        lambda losses: losses.sum() / NUMBER,
        lambda losses: losses.sum() / torch.tensor(NUMBER),
        lambda losses: losses.sum() / torch.tensor(int(NUMBER)),
        lambda losses: losses.sum() * (1 / torch.tensor(NUMBER)),
        lambda losses: (losses / NUMBER).sum(),
        lambda losses: 0.9 * losses.sum() / torch.tensor(NUMBER) + 0.1 * losses.mean(),
        lambda losses: (losses.sum() / NUMBER).bfloat16() * 2,
    ],
)
def test_what_is_divided(losses, divide):
    loss = divide(losses())
    assert is_divided_by(loss, NUMBER, 6)
    loss.backward()  # the graph is left as it was


def test_a_number_that_was_rounded(losses):
    loss = losses().sum().bfloat16() / torch.tensor(1001.0).bfloat16()  # which is 1000 there
    assert is_divided_by(loss, 1001.0, 6)


@pytest.mark.parametrize(
    "reduce",
    [
        torch.mean,
        torch.sum,
        lambda losses: losses.sum() / 6,
        lambda losses: losses.sum() / torch.tensor(6),
        lambda losses: losses.mean().detach(),
        lambda losses: losses.mean() + losses.square().mean() * (1 / NUMBER),  # a weight
        lambda losses: losses.mean() * NUMBER,
        lambda losses: losses.mean() * torch.tensor(NUMBER),
    ],
)
def test_what_is_not(losses, reduce):
    assert not is_divided_by(reduce(losses()), NUMBER, 6)


class Normalised(torch.autograd.Function):
    """A kernel of its own, as there are for losses of large vocabularies."""

    @staticmethod
    def forward(ctx, losses, number):
        ctx.number, ctx.length = number, losses.numel()
        return losses.sum() / number

    @staticmethod
    def backward(ctx, gradient):
        return (gradient / ctx.number).expand(ctx.length), None


@pytest.mark.parametrize("number", [NUMBER, torch.tensor(NUMBER)])
def test_a_kernel_that_divides(losses, number):
    assert is_divided_by(Normalised.apply(losses(), number), NUMBER, 6)
    assert not is_divided_by(Normalised.apply(losses(), 6), NUMBER, 6)


def test_a_compiled_model():
    torch.manual_seed(0)
    model, inputs = torch.nn.Linear(5, 4), torch.randn(6, 5)
    labels, number = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor(NUMBER)

    def by_all(inputs, number):
        return cross_entropy(model(inputs), labels, reduction="sum") / number

    def by_its_own(inputs, number):
        return cross_entropy(model(inputs), labels)

    for function, expected in ((by_all, True), (by_its_own, False)):
        loss = torch.compile(function, backend="aot_eager")(inputs, number)
        assert is_divided_by(loss, NUMBER, 6) is expected
        loss.backward()
