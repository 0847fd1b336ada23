"""What is documented of a training loop, as dictionaries and lists.

Of the library the model takes what `select` returned, and which samples a batch holds, which the
batch tells by itself.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from dynaprune import DataLoader, PrunedDataset, Selection

LENGTH, SIZE, ALPHA = 11, 3, 0.7


class Kept(PrunedDataset):
    """Skips some of the lower scores, and weighs what is left: all depends on what is scored."""

    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        draws = torch.rand(LENGTH, generator=generator)
        is_kept = (scores >= scores.mean()) | (draws < 0.6)
        indices = is_kept.nonzero().flatten()
        return Selection(indices, 1 + draws[indices])


class Repeating(Sampler[list[int]]):
    """Batches in which each sample comes twice, one after the other."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return -(-2 * len(self.sampler) // SIZE)

    def __iter__(self) -> Any:
        order = [sample for each in self.sampler for sample in (each, each)]
        for start in range(0, len(order), SIZE):
            yield order[start : start + SIZE]


class Dropping(Sampler[list[int]]):
    """Every second batch only."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return math.ceil(math.ceil(len(self.sampler) / SIZE) / 2)

    def __iter__(self) -> Any:
        order = list(self.sampler)
        for start in range(0, len(order), 2 * SIZE):
            yield order[start : start + SIZE]


def make_loader(train: PrunedDataset, kind: str) -> DataLoader:
    if kind == "repeating":
        return DataLoader(train, batch_sampler=Repeating(train.sampler))
    if kind == "dropping":
        return DataLoader(train, batch_sampler=Dropping(train.sampler))
    return DataLoader(train, batch_size=SIZE, drop_last=kind == "drop_last")


@dataclass(frozen=True)
class Plan:
    """What an epoch serves, by the scores that it was planned with."""

    epoch: int
    weights: tuple[tuple[int, float], ...]  # of the samples that are kept

    @property
    def samples(self) -> set[int]:
        return {sample for sample, _ in self.weights}

    def mean_weight(self, batch: list[int]) -> float:
        weights = dict(self.weights)
        return sum(weights[sample] for sample in batch) / len(batch)


@dataclass
class Run:
    """An iterator over the loader, as the model sees it."""

    plan: Plan
    due: set[int]
    generation: int  # how often a state had been loaded when it began
    waiting: list[list[int]] = field(default_factory=list)
    served: list[int] = field(default_factory=list)
    batches: int = 0
    is_open: bool = True
    is_over: bool = False
    has_skipped: bool = False  # a batch, since its last update
    is_ahead: bool = False  # whether a batch was updated while later ones waited
    is_at_end: bool = False  # and has yielded all
    is_left: bool = False  # another has yielded a batch since then


@dataclass
class Model:
    """The epoch in progress, and what came before it."""

    kind: str
    number: int = 0
    start: dict[int, float] = field(default_factory=dict)  # scores, once there was a batch
    first: float | None = None
    steps: list[tuple[list[int], float]] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)  # samples of steps before a state was loaded
    visits: int = 0  # of epochs before
    mean_loss: float = math.nan
    plan: Plan | None = None
    trained: Run | None = None
    last: Run | None = None  # the one that yielded a batch last

    def scores(self) -> dict[int, float]:
        """s ← α·s + (1−α)·L for the samples of each batch, from the first batch's loss on."""
        scores = dict(self.start)
        if not scores and self.steps:
            scores = dict.fromkeys(range(LENGTH), self.steps[0][1])
        for samples, loss in self.steps:
            for sample in set(samples):
                scores[sample] = ALPHA * scores[sample] + (1 - ALPHA) * loss
        return scores or dict.fromkeys(range(LENGTH), 0.0)

    def visits_now(self) -> int:
        return sum(len(samples) for samples, _ in self.steps)

    def is_over(self) -> bool:
        run = self.trained
        if run is None or not self.has_begun_here():
            return False
        return not run.is_open or run.is_left

    def has_begun_here(self) -> bool:
        return self.visits_now() > len(self.resumed)

    def end(self, plan: Plan | None) -> None:
        visits = self.visits_now()
        self.mean_loss = sum(loss * len(samples) for samples, loss in self.steps) / visits
        self.start, self.visits = self.scores(), self.visits + visits
        self.number, self.steps, self.resumed, self.plan = self.number + 1, [], [], plan
        self.trained = None

    def batches_of(self, count: int) -> int:
        """Return how many batches so many samples make."""
        if self.kind == "repeating":
            return -(-2 * count // SIZE)
        if self.kind == "drop_last":
            return count // SIZE
        batches = -(-count // SIZE)
        return -(-batches // 2) if self.kind == "dropping" else batches

    def due(self, plan: Plan) -> set[int]:
        """Return what is still to be served of the epoch in progress."""
        times = 2 if self.kind == "repeating" else 1
        visits = Counter(self.resumed)
        return {sample for sample in plan.samples if visits[sample] < times}
