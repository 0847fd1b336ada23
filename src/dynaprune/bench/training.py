"""One training run, with the three lines in a loop as a user has it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ..loader import DataLoader
from ..pruned import PrunedDataset
from .data import ImageData
from .model import SmallCNN


@dataclass(frozen=True)
class Recipe:
    """How a run trains.

    Attributes:
        epochs: passes over the data.
        batch_size: samples a step.
        learning_rate: the highest; it rises over the first fifth of the run and falls to zero.
        momentum: of SGD, with Nesterov's correction.
        weight_decay: L2.
        threads: of torch; `None` for its own choice. Several threads for a small step wait for
            each other: on a machine that does other things too, many times longer than they work.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    threads: int | None = None


@dataclass(frozen=True)
class Run:
    """What a run came to.

    Attributes:
        accuracy: share of test images classified rightly, after the last epoch.
        visits: sample visits made.
        seconds: wall-clock seconds of training, without the test.
    """

    accuracy: float
    visits: int
    seconds: float


def train_run(
    data: ImageData,
    recipe: Recipe,
    train: PrunedDataset,
    seed: int,
    *,
    sample_losses: bool = False,
    max_visits: int | None = None,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> Run:
    """Train a `SmallCNN` on a pruned dataset and test it.

    Arguments:
        data: the images.
        recipe: how to train.
        train: the training set of `data`, pruned, for the recipe's number of epochs.
        seed: fixes the model's initial weights.
        sample_losses: whether the criterion returns a loss a sample.
        max_visits: stop at exactly this many sample visits, with the learning rate's schedule
            scaled to them: training for fewer epochs.
        on_epoch: called with the number of each epoch that has ended.
    """
    torch.manual_seed(seed)
    images, _ = data.train[0]
    model = SmallCNN(images.shape[0], images.shape[1], data.num_classes)
    criterion = nn.CrossEntropyLoss(reduction="none" if sample_losses else "mean")
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    loader = DataLoader(train, batch_size=recipe.batch_size, sampler=train.sampler)
    epochs = recipe.epochs if max_visits is None else math.ceil(max_visits / len(train))
    visits = 0
    started = time.perf_counter()
    for epoch in range(epochs):
        for images, labels in loader:
            if max_visits is None:
                progress = train.progress / recipe.epochs
            else:
                progress = visits / max_visits
                images, labels = images[: max_visits - visits], labels[: max_visits - visits]
                if len(labels) == 0:
                    break
            visits += len(labels)
            optimizer.param_groups[0]["lr"] = recipe.learning_rate * one_cycle(progress)
            loss = criterion(model(images), labels)
            loss = train.update(loss)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        on_epoch(epoch)
    seconds = time.perf_counter() - started
    return Run(accuracy_of(model, data), visits, seconds)


def one_cycle(progress: float, warm_up: float = 0.2) -> float:
    """Return the learning rate's share at a run's progress, both in [0, 1]: up, then down."""
    if progress < warm_up:
        return 0.05 + 0.95 * progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


@torch.no_grad()
def accuracy_of(model: nn.Module, data: ImageData) -> float:
    """Return the share of test images that the model classifies rightly."""
    model.eval()
    right = 0
    for images, labels in torch.utils.data.DataLoader(
        TensorDataset(data.test_images, data.test_labels), batch_size=1000
    ):
        predicted: Tensor = model(images).argmax(1)
        right += int((predicted == labels).sum())
    return right / len(data.test_labels)
