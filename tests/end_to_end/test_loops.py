"""Loops that people train with: accumulation, mixed precision, compiled models, several of all."""

from __future__ import annotations

import pytest
import torch
from helpers import Numbers, bls, mean_loss, with_scores
from torch import nn

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, RandomPrune


def regression(length=64):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(length, 3, generator=generator)
    return torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True))


def weighted(method=InfoBatch, dataset=None, **arguments):
    """A run whose coming epoch prunes, and whose batches have weights."""
    train = method(dataset or regression(), 10, **arguments)
    train = with_scores(train, torch.arange(64).float())
    train.epochs.score.needs_loss_vector = False
    return train


def test_accumulation_has_the_gradient_of_the_whole():
    """k micro-batches, each loss divided by k, are one of the mean of their weighted losses."""
    model = nn.Linear(3, 1)
    train = weighted()
    loader = DataLoader(train, batch_size=4)
    weights, batches = train.weights, []
    order = train.begin_epoch().order
    for number, (inputs, targets) in enumerate(loader):
        loss = train.update((model(inputs) - targets).square().mean())
        (loss / 3).backward()
        batches.append((inputs, targets))
        if number == 2:
            break
    expected = torch.zeros(3)
    for number, (inputs, targets) in enumerate(batches):
        loss = (model(inputs) - targets).square().mean()
        own = weights[order[4 * number : 4 * number + 4]].mean()
        expected += torch.autograd.grad(loss * own / 3, model.weight)[0][0]
    torch.testing.assert_close(model.weight.grad[0], expected)
    assert weights.max() > 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_grad_scaler(dtype):
    """`update` goes before `scaler.scale`: what is scored is the loss, not the scaled one."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    train = BLS(InfoBatch(regression(), 10)).proxy()
    losses = []
    for _ in range(4):
        for inputs, targets in DataLoader(train, batch_size=8):
            with torch.autocast("cpu", dtype=dtype):
                loss = (model(inputs) - targets).square().mean()
                loss = train.update(loss)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(float(loss.detach()))
    assert train.scores.max() < 20
    assert losses[-1] < losses[0]


def test_several_losses_are_summed_up_first():
    train = BLS(NoPrune(Numbers(8), 2), alpha=0.0).proxy()
    for batch in DataLoader(train, batch_size=4):
        loss = train.update(batch.float().mean() + 0.5 * batch.float().square().mean())
    assert train.scores[batch[0]] == loss


def test_two_models_and_two_pruned_datasets():
    """Interleaved in one loop, as generator and discriminator are: neither sees the other."""
    alone = []
    for seed in (0, 1):
        train = bls(InfoBatch, 60, seed=seed)
        for _ in range(4):
            for batch in DataLoader(train, batch_size=6):
                train.update(mean_loss(batch) * (seed + 1))
        alone.append(train.scores)
    first, second = bls(InfoBatch, 60, seed=0), bls(InfoBatch, 60, seed=1)
    loaders = [DataLoader(first, batch_size=6), DataLoader(second, batch_size=6)]
    for _ in range(4):
        iterators = [iter(loader) for loader in loaders]
        pending = {0, 1}
        while pending:
            batches = {which: next(iterators[which], None) for which in sorted(pending)}
            for which, batch in batches.items():
                if batch is None:
                    pending.discard(which)
                else:
                    [first, second][which].update(mean_loss(batch) * (which + 1))
    assert first.scores.equal(alone[0])
    assert second.scores.equal(alone[1])


def test_one_dataset_in_two_runs():
    data = Numbers(60)
    both = [BLS(method(data, 10)).proxy() for method in (InfoBatch, RandomPrune)]
    for train in both:
        for batch in DataLoader(train, batch_size=6):
            train.update(mean_loss(batch))
    assert len(both[0]) == len(both[1]) == 60


def test_a_loss_that_is_normalised_otherwise():
    """`mean_loss` is scored; `loss`, normalised over accumulated batches say, is rescaled."""
    train = weighted()
    loader = DataLoader(train, batch_size=4)
    expected = {}
    weights = train.weights
    order = train.begin_epoch().order
    for number, _ in enumerate(loader):
        batch = order[4 * number : 4 * number + 4]
        share = torch.tensor(0.25, requires_grad=True)
        scaled = train.update(share, mean_loss=torch.tensor(float(number)))
        assert scaled.item() == pytest.approx(0.25 * weights[batch].mean().item())
        assert scaled.requires_grad
        expected.update(dict.fromkeys(batch.tolist(), float(number)))
    scores = train.scores
    assert all(scores[i] == value for i, value in expected.items())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (1.5, "expects a loss of a float type and shape .*, but a float was given"),
        (torch.tensor(1), "but torch.int64 of shape .* was given"),
        (torch.ones(3), r"but torch.float32 of shape \(3,\) was given"),
    ],
)
def test_wrong_losses_beside_a_mean_loss(loss, message):
    train = bls(NoPrune, 8)
    iterator = iter(DataLoader(train, batch_size=4))
    next(iterator)
    with pytest.raises(RuntimeError, match=message):
        train.update(loss, mean_loss=torch.tensor(1.0))
    with pytest.raises(RuntimeError, match="expects the loss as a tensor"):
        train.update(torch.tensor(1.0), mean_loss=1.0)


def test_a_replayed_cuda_graph():
    """The graph reads static inputs and a static weight, and writes each step's loss to one tensor.

    A function stands for the graph: what matters is that it runs all of a step, and that `update`
    comes after it.
    """

    def run(with_graph):
        torch.manual_seed(0)
        model, train = nn.Linear(3, 1), weighted()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        static_inputs, static_targets = torch.zeros(4, 3), torch.zeros(4, 1)
        static_weight, static_loss = torch.zeros(()), torch.zeros(())

        def replay():
            loss = (model(static_inputs) - static_targets).square().mean()
            static_loss.copy_(loss.detach())
            optimizer.zero_grad()
            (loss * static_weight).backward()
            optimizer.step()

        weights = []
        for inputs, targets in DataLoader(train, batch_size=4, drop_last=True):
            weights.append(train.batch_weight)
            if with_graph:
                static_inputs.copy_(inputs)
                static_targets.copy_(targets)
                static_weight.fill_(train.batch_weight)
                replay()
                train.update(static_loss)
            else:
                loss = train.update((model(inputs) - targets).square().mean())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        static_loss.fill_(-1.0)
        assert max(weights) > 1
        with pytest.raises(RuntimeError, match="after the last batch"):
            _ = train.batch_weight
        return train.scores, model.weight.detach()

    for one, other in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(one, other)


def test_the_weight_of_no_batch():
    with pytest.raises(RuntimeError, match="batch_weight was read before a batch was served"):
        _ = bls(NoPrune, 8).batch_weight


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # the compiler's own warnings are not ours to mend
@pytest.mark.parametrize("inside", [False, True])
def test_compiled(inside):
    """The model compiled, or the whole step with `update` in it, which leaves the graph there."""

    def run(compiled):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        train = BLS(InfoBatch(regression(), 10)).proxy()

        def forward(inputs, targets):
            loss = (model(inputs) - targets).square().mean()
            return train.update(loss) if inside else loss

        step = torch.compile(forward) if compiled else forward
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(4):
            for inputs, targets in DataLoader(train, batch_size=8):
                loss = step(inputs, targets)
                if not inside:
                    loss = train.update(loss)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return train.scores, train.summary().visits_made

    scores, visits = run(compiled=True)
    expected, expected_visits = run(compiled=False)
    torch.testing.assert_close(scores, expected)
    assert visits == expected_visits


def test_an_optimizer_that_evaluates_a_batch_several_times():
    """LBFGS: the first evaluation is scored, and all have the gradient of the weighted loss."""
    data = torch.utils.data.TensorDataset(torch.randn(40, 3), torch.randn(40, 1))
    train = BLS(InfoBatch(data, 8), alpha=0.0).proxy()
    model = nn.Linear(3, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    weights = set()
    for _ in range(4):
        for inputs, targets in DataLoader(train, batch_size=8):
            evaluated = []

            def closure(inputs=inputs, targets=targets, evaluated=evaluated):
                optimizer.zero_grad()
                loss = (model(inputs) - targets).square().mean()
                weighted = loss * train.batch_weight if evaluated else train.update(loss)
                value = float(loss.detach())
                assert float(weighted.detach()) == pytest.approx(value * train.batch_weight)
                evaluated.append(value)
                weighted.backward()
                return weighted

            optimizer.step(closure)
            assert len(evaluated) > 1
            weights.add(train.batch_weight)
            found = train.epochs.record.batches().losses[-1]
            assert float(found) == pytest.approx(evaluated[0])
    assert len(weights) > 1
    assert train.summary().epochs == 4
