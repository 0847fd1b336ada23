"""One training, with the loss and the margin of every sample at each visit."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tasks import Task
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dynaprune import NoPrune
from dynaprune.bench.recipe import one_cycle

BATCH = 64
"""The batch size of `learning_rate`."""


@dataclass(frozen=True)
class Visits:
    """What a training has seen of its samples.

    Attributes:
        losses: of each sample in each epoch, as the step computes it: float32, shape (E, N).
        margins: the logit of the given label minus the highest other one, likewise.
        accuracy: on the task's test set, after the last epoch.
        seconds: processor time of the training.
    """

    losses: NDArray[np.float32]
    margins: NDArray[np.float32]
    accuracy: float
    seconds: float


def train(task: Task, epochs: int, batch_size: int, seed: int) -> tuple[nn.Module, Visits]:
    """Train on all samples of a task in each epoch; return the model, to evaluate, and visits.

    Batches are those of `NoPrune(range(N), epochs, seed=seed).batches(batch_size)`.
    """
    torch.manual_seed(seed)
    model, count = task.make_model(), len(task.labels)
    rate = task.learning_rate * (batch_size / BATCH) ** 0.5
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=task.weight_decay)
    order = NoPrune(range(count), epochs, seed=seed)
    losses, margins = (torch.zeros(epochs, count) for _ in range(2))
    started = time.process_time()
    model.train()
    for epoch in range(epochs):
        for indices in order.batches(batch_size):
            optimizer.param_groups[0]["lr"] = rate * one_cycle(order.progress / epochs)
            labels = task.labels[indices]
            logits = model(task.inputs[indices])
            each = cross_entropy(logits, labels, reduction="none")
            optimizer.zero_grad()
            order.update(each.mean()).backward()
            optimizer.step()
            losses[epoch, indices] = each.detach()
            margins[epoch, indices] = margins_of(logits.detach(), labels)
    seconds = time.process_time() - started
    model.eval()
    right = probabilities(model, task.test_inputs).argmax(1) == task.test_labels
    accuracy = float(right.float().mean())
    return model, Visits(losses.numpy(), margins.numpy(), accuracy, seconds)


def margins_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logits of labels minus the highest other ones: shape (B,).

    Arguments:
        logits: shape (B, classes).
        labels: int64, shape (B,).
    """
    given = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return given[:, 0] - others.amax(1)


@torch.no_grad()
def probabilities(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the probabilities of classes: shape (N, classes)."""
    return torch.cat([model(part).softmax(1) for part in inputs.split(500)])


def kept(path: Path, task: Task, epochs: int, batch_size: int, seed: int) -> Visits:
    """Return the visits in a file of arrays, or train and write it."""
    if not path.exists():
        _, visits = train(task, epochs, batch_size, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **asdict(visits))
    with np.load(path) as file:
        return Visits(
            file["losses"], file["margins"], float(file["accuracy"]), float(file["seconds"])
        )
