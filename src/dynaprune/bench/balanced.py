"""A task whose loss is weighted by class, as is usual if some classes are rare."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .task import Task


def balanced(task: Task, labels: Tensor) -> Task:
    """Return a copy of a task in which all classes have the same share of the training loss.

    The metric does not change.

    The loss of a sample of class c is multiplied by N / (C · n_c), where n_c is the number of
    samples of that class, N the number of all samples, and C the number of classes that occur. The
    mean of these weights over samples is 1.

    Arguments:
        task: a loaded task with per-sample losses, whose batches have the classes as second part.
        labels: the classes of all training samples, int64, shape (N,).

    Raises:
        ValueError: the task has no per-sample losses.
    """
    if not task.has_losses:
        raise ValueError(
            f"{task.name} has no per-sample losses, so its loss cannot be weighted by class: add a "
            "method losses() to the task"
        )
    counts = torch.bincount(labels)
    occurring = int(counts.count_nonzero())
    weights = (len(labels) / (occurring * counts.clamp(min=1))).float().to(task.device)

    # a subclass of the task's own class, so that everything else stays the same
    class Balanced(type(task)):  # type: ignore[misc]
        def loss(self, outputs: Any, batch: Any) -> Tensor:
            return self.losses(outputs, batch).mean()

        def losses(self, outputs: Any, batch: Any) -> Tensor:
            losses: Tensor = super().losses(outputs, batch)
            return losses * weights[batch[1]]

        def evaluate(self, model: nn.Module) -> float:
            return task.evaluate(model)

    changed = copy.copy(task)
    changed.__class__ = Balanced
    return changed
