"""A task whose loss is weighted by class, as one would train it where classes are rare."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .task import Task


def balanced(task: Task, labels: Tensor) -> Task:
    """Return a task as another one, but that all classes have the same share of its loss.

    It is judged as the other one is.

    The loss of a sample of class c is multiplied by N / (C · n_c), where n_c of N samples are of it
    and C classes occur: the weights have a mean of 1.

    Arguments:
        task: loaded, with a loss of each sample, whose batches have the classes as second part.
        labels: the classes of all training samples, int64, shape (N,).

    Raises:
        ValueError: the task has no loss of each sample.
    """
    if not task.has_losses:
        raise ValueError(
            f"{task.name} has no loss of each sample, so it cannot be weighted by class: give the "
            "task a method losses()"
        )
    counts = torch.bincount(labels)
    occurring = int(counts.count_nonzero())
    weights = (len(labels) / (occurring * counts.clamp(min=1))).float().to(task.device)

    # of the task's own class, which is known only now, so that all else of it stays
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
