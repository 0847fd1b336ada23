"""One training run: a plain loop with the three lines of dynaprune."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ..loading.loader import DataLoader
from ..losses.chunked import chunked
from ..pruned_dataset import PrunedDataset
from ..utils.devices import to_device
from .recipe import Recipe
from .task import Task

Reads = Literal["mean", "slices", "fine-slices", "samples", "focal"]
"""The losses that `update` gets: the batch's mean, the means of slices, per-sample losses, or the
mean focal loss."""

FOCUS = 2.0
"""The exponent of the focal loss."""

SLICES = {"slices": 8, "fine-slices": 16}
"""The number of slices of a batch."""

OnEpoch: TypeAlias = Callable[[int, nn.Module], None]
"""Called after each epoch with its number and the model."""


@dataclass(frozen=True)
class Run:
    """The result of a run.

    Attributes:
        quality: the task's metric after the last epoch.
        visits: the number of sample visits made.
        seconds: the wall-clock time of training, without evaluation.
        other_metrics: more metrics of the task, by name.
    """

    quality: float
    visits: int
    seconds: float
    other_metrics: Mapping[str, float] = field(default_factory=dict)


def train_run(
    task: Task,
    recipe: Recipe,
    train: PrunedDataset,
    seed: int,
    *,
    reads: Reads = "mean",
    on_epoch: OnEpoch = lambda epoch, model: None,
) -> Run:
    """Train a task's model on a pruned dataset, and evaluate it.

    Arguments:
        task: the loaded task.
        recipe: how to train; the number of epochs is that of `train`.
        train: the pruned training set of the task.
        seed: fixes the initial weights and all other random numbers.
        reads: the losses that `update` gets.
        on_epoch: called after each epoch; its time does not count.

    Raises:
        ValueError: `evaluate` returns no number, or a batch of one sample reached a model that
            cannot train on it.
    """
    spent = 0.0

    def timed(epoch: int, model: nn.Module) -> None:
        nonlocal spent
        began = time.perf_counter()
        on_epoch(epoch, model)
        spent += time.perf_counter() - began

    started = time.perf_counter()
    model = train_model(task, recipe, train, seed, reads=reads, on_epoch=timed)
    if task.device.type != "cpu":
        torch.accelerator.synchronize()  # before this the device may still be busy
    seconds = time.perf_counter() - started - spent
    model.eval()
    with torch.no_grad():
        quality = task.evaluate(model)
        others = dict(task.other_metrics(model))
    try:
        number = float(quality)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"evaluate() of {task.name} must return the metric, a number, but it returned a "
            f"{type(quality).__name__}"
        ) from error
    return Run(number, train.summary().visits_made, seconds, others)


def train_model(
    task: Task,
    recipe: Recipe,
    train: PrunedDataset,
    seed: int,
    *,
    reads: Reads = "mean",
    on_epoch: OnEpoch = lambda epoch, model: None,
) -> nn.Module:
    """Train a new model of a task, and return it; see `train_run`."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (a user's task may use it)
    random.seed(seed)
    model = task.make_model().to(task.device)
    optimizer = recipe.make_optimizer(model)
    loss_of = reader(task, reads)
    loader = DataLoader(
        train,
        batch_size=recipe.batch_size,
        sampler=train.sampler,
        collate_fn=task.collate(),
        drop_last=task.drop_last,
    )
    for epoch in range(train.num_epochs):
        model.train()
        for batch in loader:
            recipe.set_rates(optimizer, train.progress / train.num_epochs)
            batch = to_device(batch, task.device)
            try:
                outputs = task.outputs(model, batch)
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                raise ValueError(
                    f"the model of {task.name} normalizes over the batch, but an epoch ended in a "
                    "batch of one sample, which can happen because pruned epochs vary in length: "
                    "set drop_last = True in the task"
                ) from error
            loss = loss_of(outputs, batch)
            loss = train.update(loss)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            if recipe.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
        on_epoch(epoch, model)
    return model


def reader(task: Task, reads: Reads) -> Callable[[Any, Any], Tensor]:
    """Return the function of outputs and batch that computes the losses for `update`."""
    if reads == "samples":
        return task.losses
    if reads == "focal":
        return lambda outputs, batch: focal(task.losses(outputs, batch)).mean()
    if reads in SLICES:
        return chunked(task.loss, chunks=SLICES[reads], lists=task.lists)
    return task.loss


def focal(losses: Tensor) -> Tensor:
    """Return focal losses, shape (B,), for cross-entropies, shape (B,).

    Source: Lin et al., "Focal Loss for Dense Object Detection" (ICCV 2017), arXiv:1708.02002.
    """
    # the loss is −log p, and 1 − p = −expm1(−loss)
    return (-torch.expm1(-losses)) ** FOCUS * losses


def losses_of(task: Task, model: nn.Module, data: Any, batch_size: int) -> Tensor:
    """Return the per-sample losses of a dataset in evaluation mode: shape (N,), on the CPU."""
    loader = torch.utils.data.DataLoader(data, batch_size=batch_size, collate_fn=task.collate())
    model.eval()
    with torch.no_grad():
        batches = (to_device(batch, task.device) for batch in loader)
        found = [task.losses(task.outputs(model, batch), batch) for batch in batches]
    return torch.cat(found).cpu()
