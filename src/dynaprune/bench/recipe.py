"""How a task is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import nn

Length: TypeAlias = Literal["brief", "full"]
"""Of training: cut to seconds, or until more of it gains nothing."""

LENGTHS: tuple[Length, ...] = ("brief", "full")

WARM_UP = 0.2
"""The share of a run in which the learning rate rises."""


@dataclass(frozen=True)
class Recipe:
    """How a run trains.

    Attributes:
        epochs: passes over the data of full training.
        batch_size: samples a step.
        learning_rate: the highest; it rises over the first fifth of the run and falls to zero.
        optimizer: "sgd" with Nesterov's momentum, "adamw", or "lars" (layer-wise rates, You et
            al., arXiv:1708.03888).
        momentum: of "sgd" and "lars".
        weight_decay: L2 of "sgd" and "lars", decoupled of "adamw".
        clip: the largest norm of a gradient; `None` for any.
        threads: of torch; `None` for its own choice. Several threads for a small step wait for
            each other: on a machine that does other things too, many times longer than they work.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Literal["sgd", "adamw", "lars"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip: float | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "adamw", "lars"):
            raise ValueError(
                f"optimizer must be sgd, adamw or lars, but {self.optimizer!r} was given"
            )

    def with_length(self, epochs: int, learning_rate: float) -> Recipe:
        """Return this recipe for another number of epochs, at the learning rate that suits them."""
        return replace(self, epochs=epochs, learning_rate=learning_rate)

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer of a model's parameters."""
        if self.optimizer == "adamw":
            return torch.optim.AdamW(
                model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
            )
        if self.optimizer == "lars":
            from .lars import LARS

            return LARS(model.parameters(), self.learning_rate, self.momentum, self.weight_decay)
        return torch.optim.SGD(
            model.parameters(),
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.momentum > 0,
        )

    def set_rates(self, optimizer: torch.optim.Optimizer, progress: float) -> None:
        """Set what an optimizer is to step with at a run's progress, in [0, 1]."""
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * one_cycle(progress)


def one_cycle(progress: float, warm_up: float = WARM_UP) -> float:
    """Return the learning rate's share at a run's progress, both in [0, 1]: up, then down."""
    if progress < warm_up:
        return 0.05 + 0.95 * progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (min(progress, 1.0) - warm_up) / (1 - warm_up)))
