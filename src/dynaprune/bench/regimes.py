"""Regimes: changes of a task that waste sample visits in different ways.

Pruning helps only if visits are wasted, so each kind of waste is a setting of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from ..methods import NoPrune
from .balanced import balanced
from .kinds import Kinds, judged_by_kind, with_rare_kinds
from .long_tail import long_tailed
from .recipe import Recipe
from .task import Task
from .tasks.classification import Classification
from .training import losses_of, train_model

COPIES = 0.75
"""The share of near-duplicates in the training set of `redundant`."""

ORIGINALS = 1 / 16
"""The share of samples that the near-duplicates are copies of."""

WRONG = 0.1
"""The share of wrong labels."""

TRIVIAL = 0.75
"""The share of easy samples in the training set of `trivial`."""

EARLY = 0.25
"""The share of the recipe's epochs after which it is measured which samples are easy."""

Change: TypeAlias = Callable[[Task, torch.Generator], TensorDataset]


@dataclass(frozen=True)
class Regime:
    """A change of a task.

    Attributes:
        about: a short description.
        change: takes a loaded task with inputs and classes, and a generator, and returns the
            changed training set; `None` to leave it unchanged.
        longer: the factor on the number of epochs.
        balances: whether the loss is weighted such that all classes have the same share of it.
        rare_kinds: whether some kinds inside of the classes become rare, and the metric counts all
            kinds alike.
        labels: which of the task's `other_labels` are trained on; `None` for its own.
    """

    about: str
    change: Change | None = None
    longer: float = 1.0
    balances: bool = False
    rare_kinds: bool = False
    labels: str | None = None

    def fits(self, task: Task) -> bool:
        """Return whether a loaded task has the inputs, classes or labels that the change needs."""
        if self.rare_kinds:
            return isinstance(task, Classification) and task.kinds is not None
        if self.labels is not None:
            return self.labels in task.other_labels
        return self.change is None or _is_labelled(task)

    def recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe of this regime."""
        return replace(recipe, epochs=max(1, round(recipe.epochs * self.longer)))

    def task(self, task: Task, samples: Any) -> Task:
        """Return the task to train in this regime on these samples.

        Raises:
            ValueError: the regime needs per-sample losses, which the task does not have.
        """
        if self.rare_kinds:
            classification, kinds = self._with_kinds(task)
            return judged_by_kind(classification, kinds)
        return balanced(task, samples.tensors[1]) if self.balances else task

    def samples(self, task: Task, seed: int) -> Any:
        """Return the training set of this regime, with random choices fixed by a seed.

        Raises:
            ValueError: the task has no classes to change, or not these labels.
            FileNotFoundError: the file of these labels was not found.
        """
        if self.labels is not None:
            return self._relabelled(task, self.labels)
        if self.rare_kinds:
            classification, kinds = self._with_kinds(task)
            return with_rare_kinds(kinds, classification.train, _generator(seed))
        if self.change is None:
            return task.train
        if not _is_labelled(task):
            raise ValueError(
                f"{self.about}: that needs classes, but the training set of {task.name} is not a "
                "TensorDataset of inputs and int64 classes that the task learns"
            )
        return self.change(task, _generator(seed))

    def _with_kinds(self, task: Task) -> tuple[Classification, Kinds]:
        if not isinstance(task, Classification) or task.kinds is None:
            raise ValueError(
                f"{self.about}: {task.name} knows no kinds of its samples; choose another regime, "
                "or a task derived from Classification that sets kinds"
            )
        return task, task.kinds

    def _relabelled(self, task: Task, labels: str) -> TensorDataset:
        if not self.fits(task):
            raise ValueError(
                f"{self.about}: {task.name} has no labels {labels!r}, only "
                f"{', '.join(map(repr, task.other_labels)) or 'its own'}; choose another regime, "
                "or a task that sets other_labels"
            )
        return TensorDataset(task.train.tensors[0], task.other_labels[labels]())


def _generator(seed: int) -> torch.Generator:
    # an offset, so that no epoch's order repeats the random numbers of the change
    return torch.Generator().manual_seed(seed + 77_000)


def _is_labelled(task: Task) -> bool:
    data = task.train
    if not task.learns_labels or not isinstance(data, TensorDataset) or len(data.tensors) != 2:
        return False
    labels = data.tensors[1]
    return labels.dtype == torch.int64 and labels.ndim == 1


def _redundant(task: Task, generator: torch.Generator) -> TensorDataset:
    """Three quarters of the samples become near-duplicates of a sixteenth of them."""
    inputs, labels = task.train.tensors
    total = len(labels)
    order = torch.randperm(total, generator=generator)
    kept = order[: total - round(COPIES * total)]
    copied = kept[torch.arange(total - len(kept)) % max(1, round(ORIGINALS * total))]
    near = _nearly(inputs[copied], generator)
    return TensorDataset(torch.cat([inputs[kept], near]), labels[torch.cat([kept, copied])])


def _nearly(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return nearly the same inputs: with a little noise, or with one token replaced by another."""
    if inputs.dtype == torch.uint8:
        noise = torch.randint(-4, 5, inputs.shape, generator=generator)
        return (inputs.long() + noise).clamp(0, 255).to(torch.uint8)
    if inputs.is_floating_point():
        return inputs + 0.02 * inputs.std() * torch.randn(inputs.shape, generator=generator)
    changed = inputs.clone()
    rows = torch.arange(len(inputs))
    # only among real tokens: 0 is padding
    lengths = (inputs != 0).sum(1).clamp(min=1)
    places = (torch.rand(2, len(inputs), generator=generator) * lengths).long()
    changed[rows, places[0]] = inputs[rows, places[1]]
    return changed


def _long_tailed(task: Task, generator: torch.Generator) -> TensorDataset:
    """Class c of C keeps a share 0.02^(c/(C − 1)) of its samples."""
    inputs, labels = task.train.tensors
    classes = int(labels.max()) + 1
    everyone = torch.cat(long_tailed(labels, range(classes), generator))
    return TensorDataset(inputs[everyone], labels[everyone])


def _wrong_labels(task: Task, generator: torch.Generator) -> TensorDataset:
    """A tenth of the labels are replaced by other classes."""
    inputs, labels = task.train.tensors
    return TensorDataset(inputs, mislabelled(labels, WRONG, generator))


def mislabelled(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return labels, int64, shape (N,), with a share of them replaced by other classes."""
    classes = int(labels.max()) + 1
    wrong = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    moved = torch.randint(1, classes, (len(wrong),), generator=generator)
    changed = labels.clone()
    changed[wrong] = (changed[wrong] + moved) % classes
    return changed


def _trivial(task: Task, generator: torch.Generator) -> TensorDataset:
    """Three quarters of the samples are from the easiest third.

    These have the lowest losses after training on all samples for a quarter of the epochs.
    """
    if not task.has_losses:
        raise ValueError(
            f"{task.name} has no per-sample losses, so it is unknown which samples are trivial: "
            "add a method losses() to the task"
        )
    inputs, labels = task.train.tensors
    easiest = torch.argsort(_losses_after(task, max(1, round(task.recipe.epochs * EARLY))))
    trivial = easiest[: max(1, len(labels) // 3)]
    others = easiest[len(trivial) :]
    count = round(len(trivial) * (1 - TRIVIAL) / TRIVIAL)
    drawn = others[torch.randperm(len(others), generator=generator)[:count]]
    chosen = torch.cat([trivial, drawn])
    return TensorDataset(inputs[chosen], labels[chosen])


@cache
def _losses_after(task: Task, epochs: int) -> Tensor:
    """Return the loss of each sample after a short training: shape (N,)."""
    recipe = replace(task.recipe, epochs=epochs)
    model = train_model(task, recipe, NoPrune(task.train, epochs), seed=0)
    return losses_of(task, model, task.train, recipe.batch_size)


REGIMES: dict[str, Regime] = {
    "as-is": Regime("the data set as it is"),
    "redundant": Regime("three quarters are near-duplicates of a sixteenth", _redundant),
    "long-tailed": Regime("the rarest class has a fiftieth of the samples", _long_tailed),
    "long-tailed-balanced": Regime(
        "the rarest class has a fiftieth of the samples, and classes have equal shares of the loss",
        _long_tailed,
        balances=True,
    ),
    "hidden-rare": Regime(
        "the rarest kind inside of each class has a fiftieth of the samples of the largest, and "
        "kinds have no label",
        rare_kinds=True,
    ),
    "trivial": Regime("three quarters are from the easiest third", _trivial),
    "wrong-labels": Regime("a tenth of the labels are wrong", _wrong_labels),
    "human-labels-worse": Regime(
        "labels by people, the worse of three (CIFAR-10N), 40% of them wrong", labels="worse"
    ),
    "human-labels-random": Regime(
        "labels by people, one each (CIFAR-10N), 17% of them wrong", labels="random1"
    ),
    "human-labels-aggregate": Regime(
        "labels by people, by majority (CIFAR-10N), 9% of them wrong", labels="aggre"
    ),
    "rule-labels": Regime("labels by rules, half of them wrong", labels="rules"),
    "brief": Regime("trained for a third of the epochs", longer=1 / 3),
    "saturated": Regime("trained for three times the epochs", longer=3.0),
}
"""`brief` and `saturated` fit every task, those of other labels or rare kinds only tasks that have
these, and the others only tasks with classes."""
