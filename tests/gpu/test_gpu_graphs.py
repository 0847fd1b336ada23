"""CUDA graphs and compiled steps: tensors that the next step writes to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from gpu_runs import Task, bls_scores, exact_losses, pruned
from helpers import Numbers
from torch import Tensor

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune

BATCH_SIZE = 8


class Step:
    """A whole training step on static tensors, captured in a CUDA graph where there are some.

    Attributes:
        x: the inputs.
        y: the labels.
        weight: what the loss is multiplied by.
        loss: the mean loss before that.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.x, self.y = task.x[:BATCH_SIZE].clone(), task.y[:BATCH_SIZE].clone()
        self.weight = torch.ones((), device=task.x.device)
        self.loss = torch.zeros((), device=task.x.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        if task.x.is_cuda:
            before = {name: value.clone() for name, value in task.model.state_dict().items()}
            warming = torch.cuda.Stream()
            warming.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(warming):
                for _ in range(3):
                    self._run()
            torch.cuda.current_stream().wait_stream(warming)
            self._graph = torch.cuda.CUDAGraph()
            task.optimizer.zero_grad()
            with torch.cuda.graph(self._graph):
                self._run()
            task.model.load_state_dict(before)

    def _run(self) -> None:
        loss = self._task.criterion(self._task.model(self.x), self.y)
        self.loss.copy_(loss.detach())
        self._task.step(loss * self.weight)

    def replay(self) -> None:
        if self._graph is None:
            self._run()
        else:
            self._graph.replay()


def test_a_captured_step(device):
    """As docs/loops.md has it: the weight is copied to a static tensor, `update` comes after."""
    length, runs = 1024, []
    for captured in (True, False):
        task, train, told = Task(device, length), pruned(length), []
        step = Step(task) if captured else None
        for epoch in range(3):
            losses = []
            for indices in train.batches(BATCH_SIZE, device=device, drop_last=True):
                if step is None:
                    loss = task.loss(indices)
                    task.step(train.update(loss))
                    losses.append((indices, loss.detach()))
                else:
                    step.x.copy_(task.x[indices])
                    step.y.copy_(task.y[indices])
                    step.weight.fill_(train.batch_weight)
                    step.replay()
                    train.update(step.loss)
                    losses.append((indices, step.loss.clone()))
                weights = train.weights
            if step is not None:
                step.loss.fill_(-1.0)
            assert (weights.max() > 1) == (epoch > 0)
            told += [(indices.tolist(), float(loss)) for indices, loss in losses]
            torch.testing.assert_close(train.scores, bls_scores(length, told), rtol=1e-5, atol=0)
        runs.append((told, task.model.state_dict()))
    (replayed, one), (eager, other) = runs
    assert len({loss for _, loss in replayed}) > 100
    # the same samples in the first epochs; later, scores that differ by rounding may part them
    first = slice(0, length // BATCH_SIZE)
    assert [samples for samples, _ in replayed[first]] == [samples for samples, _ in eager[first]]
    losses = [torch.tensor([loss for _, loss in run[first]]) for run in (replayed, eager)]
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)
    if replayed == eager:
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-4)


def test_the_gradients_of_a_captured_step_are_weighted(device):
    """Step by step from the same model: with one weight, and with twice that."""
    moved = []
    for weight in (1.0, 2.0):
        task = Task(device)
        before = [each.detach().clone() for each in task.model.parameters()]
        step = Step(task)
        step.weight.fill_(weight)
        step.replay()
        after = task.model.parameters()
        moved.append([new.detach() - old for new, old in zip(after, before, strict=True)])
    for single, double in zip(*moved, strict=True):
        torch.testing.assert_close(2 * single, double, rtol=1e-4, atol=1e-6)
    assert any(float(each.abs().max()) > 0 for each in moved[0])


def test_a_graph_with_update_in_it_is_refused(cuda):
    """Each replay would write to the slot of the step that was captured."""
    train = BLS(NoPrune(Numbers(24), 3)).proxy()
    static, graph = torch.ones((), device=cuda), torch.cuda.CUDAGraph()
    batches = iter(train.batches(8, device=cuda))
    train.update(exact_losses(next(batches)).mean())
    indices = next(batches)
    with (
        pytest.raises(
            RuntimeError, match="update.. was called while a CUDA graph is being captured"
        ),
        torch.cuda.graph(graph),
    ):
        train.update(static)
    train.update(exact_losses(indices).mean())  # the batch waits still
    for indices in batches:
        train.update(exact_losses(indices).mean())
    assert train.summary().visits_made == 24
    assert train.scores.isfinite().all()


def test_a_graphed_model_that_update_follows(cuda):
    """`make_graphed_callables` captures forward and backward, and the loop calls `update`."""
    runs = []
    for graphed in (False, True):
        task, train, told = Task(cuda), pruned(256), []
        model = task.model
        if graphed:
            sample = task.x[:BATCH_SIZE].clone()
            task.model = torch.cuda.make_graphed_callables(model, (sample,))
        for _ in range(2):
            losses = []
            for indices in train.batches(BATCH_SIZE, device=cuda, drop_last=True):
                loss = task.loss(indices)
                task.step(train.update(loss))
                losses.append((indices, loss.detach().clone()))
            told += [(indices.tolist(), float(loss)) for indices, loss in losses]
            torch.testing.assert_close(train.scores, bls_scores(256, told), rtol=1e-5, atol=0)
        runs.append(told[:32])  # of the first epoch
    for (samples, loss), (others, other) in zip(*runs, strict=True):
        assert samples == others
        assert loss == pytest.approx(other, rel=1e-3)


def compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """Compile for a GPU, results in the memory of CUDA graphs; else without making code."""
    torch.compiler.reset()
    if device.type == "cuda" and any(map(shutil.which, ("cc", "gcc", "clang"))):
        return torch.compile(function, mode="reduce-overhead")
    return torch.compile(function, backend="aot_eager")


@pytest.mark.parametrize("inside", [False, True])
def test_compiled(device, inside):
    """The loss compiled, or also `update` in it, which leaves the compiled part there."""
    task, train, told = Task(device, 64), BLS(InfoBatch(Numbers(64), 10)).proxy(), []

    def forward(x: Tensor, y: Tensor) -> Tensor:
        loss = task.criterion(task.model(x), y)
        return train.update(loss) if inside else loss

    step = compiled(forward, device)
    for _ in range(3):
        losses = []
        weights = train.weights
        for indices in train.batches(8, device=device, drop_last=True):
            with torch.no_grad():
                plain = task.loss(indices)
            loss = step(task.x[indices], task.y[indices])
            if not inside:
                loss = train.update(loss)
            expected = float(plain) * float(weights[indices.cpu()].mean())
            assert float(loss.detach()) == pytest.approx(expected, rel=1e-3)
            losses.append((indices, plain))
            task.step(loss)
        told += [(indices.tolist(), float(loss)) for indices, loss in losses]
        torch.testing.assert_close(train.scores, bls_scores(64, told), rtol=1e-3, atol=1e-4)
    assert weights.max() > 1


def test_a_loader_with_a_compiled_model(device):
    """As most loops have it: the loader of this library, the model compiled, the rest not."""
    task = Task(device, 64)
    train, model = BLS(InfoBatch(task.host, 10)).proxy(), compiled(task.model, device)
    for _ in range(3):
        losses = []
        for _, x, y in DataLoader(train, batch_size=8, drop_last=True):
            loss = task.criterion(model(x.to(device)), y.to(device))
            losses.append(loss.detach().clone())
            task.step(train.update(loss))
        mean = float(torch.stack(losses).mean())
        assert train.mean_loss == pytest.approx(mean, rel=1e-5)
    assert mean < 0.69  # that of a coin
