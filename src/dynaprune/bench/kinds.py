"""Kinds of samples that have no label; some are rare."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .long_tail import long_tailed

if TYPE_CHECKING:  # a task has kinds
    from .tasks.classification import Classification

WORST = 1 / 3
"""The share of kinds that count as the worst ones, rounded."""


@dataclass(frozen=True)
class Kinds:
    """The kinds of a task's samples: K kinds inside of C < K classes, or across them.

    Attributes:
        train: the kind of each training sample, int64, shape (N,).
        test: the kind of each test sample, int64, shape (M,).
        classes: the class to learn of each kind, int64, shape (K,); `None` if a kind does not tell
            the class, and the task's own classes are to be learned.
    """

    train: Tensor
    test: Tensor
    classes: Tensor | None = None

    @property
    def count(self) -> int:
        """K."""
        return int(torch.cat([self.train, self.test]).max()) + 1

    def labels(self, kinds: Tensor, own: Tensor) -> Tensor:
        """Return the classes to learn of samples: shape (B,).

        Arguments:
            kinds: their kinds, shape (B,).
            own: the task's own labels, shape (B,).
        """
        return own if self.classes is None else self.classes[kinds]


def with_rare_kinds(
    kinds: Kinds, train: TensorDataset, generator: torch.Generator
) -> TensorDataset:
    """Return a part of a training set in which kinds are long-tailed, labelled by class.

    The kinds of a class come in a random order; of n kinds, the r-th one keeps the share
    0.02^(r/(n − 1)) of its samples.
    """
    inputs, own = train.tensors
    groups = torch.zeros(kinds.count).long() if kinds.classes is None else kinds.classes
    chosen = []
    for group in range(int(groups.max()) + 1):
        members = (groups == group).nonzero().flatten()
        order = members[torch.randperm(len(members), generator=generator)]
        chosen += long_tailed(kinds.train, order.tolist(), generator)
    everyone = torch.cat(chosen)
    return TensorDataset(inputs[everyone], kinds.labels(kinds.train, own)[everyone])


def judged_by_kind(task: Classification, kinds: Kinds) -> Classification:
    """Return a copy of a task that learns the classes of kinds, and counts all kinds alike.

    Its metric is the mean over kinds of their accuracy. `other_metrics` has the mean over the worst
    third of the kinds.
    """
    inputs, own = task.test.tensors
    test = TensorDataset(inputs, kinds.labels(kinds.test, own))
    inputs, own = task.train.tensors
    train = TensorDataset(inputs, kinds.labels(kinds.train, own))

    # a subclass of the task's own class, so that everything else stays the same
    class ByKind(type(task)):  # type: ignore[misc]
        def evaluate(self, model: nn.Module) -> float:
            return float(accuracies(self.is_right(model), kinds.test).mean())

        def other_metrics(self, model: nn.Module) -> Mapping[str, float]:
            found = accuracies(self.is_right(model), kinds.test).sort().values
            return {"worst kinds": float(found[: max(1, round(WORST * len(found)))].mean())}

    changed = copy.copy(task)
    changed.__class__ = ByKind
    changed.train, changed.test = train, test
    return changed


def accuracies(is_right: Tensor, kinds: Tensor) -> Tensor:
    """Return the accuracy on each kind that occurs: float64, shape (at most K,).

    Arguments:
        is_right: bool, shape (M,).
        kinds: int64, shape (M,).
    """
    counts = torch.bincount(kinds)
    right = torch.bincount(kinds[is_right], minlength=len(counts))
    return right[counts > 0].double() / counts[counts > 0]
