"""Task: a model, its data, its loss and its metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..losses.splitting import Lists
from .recipe import Length, Recipe

DESCRIBED = (
    "name",
    "kind",
    "dataset",
    "model",
    "metric",
    "margin",
    "higher_is_better",
    "in_percent",
    "can_slice",
)


class Task(ABC):
    """Data, a model, a loss and a metric: the base class of all tasks.

    The bench creates a task once per process, and calls `load` before any other method.

    Attributes:
        name: the unique name by which it is run.
        kind: the kind of task, such as "image classification".
        dataset: the name of the data set.
        model: the name of the architecture.
        metric: the name of the metric that `evaluate` returns.
        margin: the loss of quality that still counts as none, in the metric's own units. Set it
            before you measure anything.
        higher_is_better: whether a higher metric is better.
        in_percent: whether the metric is a share, to be shown in percent.
        recipe: how it is trained by default.
        full_recipe: the recipe with which more epochs gain nothing; `None` if it is not known.
        can_slice: whether the loss of a slice of a batch is the mean loss of its samples. It is not
            if the loss compares samples with each other, as contrastive losses do.
        lists: what a list in outputs or batches contains if its shape does not tell: "parts" of a
            batch, such as inputs and labels, or "samples"; see `chunked`.
        drop_last: whether a smaller last batch of an epoch is dropped. Set it for models that
            cannot train on a single sample, as with `BatchNorm1d`: the length of a pruned epoch
            varies, so any epoch may end in a batch of one.
        learns_labels: whether the second of two tensors of the training set is the class to learn,
            which regimes may change.
        train: the training set, a map-style dataset; `load` sets it.
        other_labels: by name, functions that return other labels of the training set, such as
            those that people gave, with their errors: int64, shape (N,). `load` sets them, and
            regimes train on them.
        device: the device of the model and the batches.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from torch.utils.data import TensorDataset
        >>> from dynaprune.bench import Recipe, Task
        >>> class Halves(Task):
        ...     name, kind, dataset = "halves", "tabular regression", "halves"
        ...     model, metric, margin = "linear", "squared error", 0.01
        ...     higher_is_better = False
        ...     recipe = Recipe(epochs=4, batch_size=16, learning_rate=0.1)
        ...     def load(self, root):
        ...         inputs = torch.linspace(-1, 1, 128)[:, None]
        ...         self.train = TensorDataset(inputs, inputs / 2)
        ...     def make_model(self):
        ...         return nn.Linear(1, 1)
        ...     def loss(self, outputs, batch):
        ...         return nn.functional.mse_loss(outputs, batch[1])
        ...     def evaluate(self, model):
        ...         inputs, targets = self.train.tensors
        ...         return self.loss(model(inputs), (inputs, targets)).item()
        >>> task = Halves()
        >>> task.load(None)
        >>> task.evaluate(task.make_model()) < 10
        True
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    dataset: ClassVar[str]
    model: ClassVar[str]
    metric: ClassVar[str]
    margin: ClassVar[float]
    higher_is_better: ClassVar[bool] = True
    in_percent: ClassVar[bool] = False
    recipe: ClassVar[Recipe]
    full_recipe: ClassVar[Recipe | None] = None
    can_slice: ClassVar[bool] = True
    lists: ClassVar[Lists] = "parts"
    drop_last: ClassVar[bool] = False
    learns_labels: ClassVar[bool] = True

    train: Any
    other_labels: Mapping[str, Callable[[], Tensor]] = MappingProxyType({})
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def load(self, root: Path | None) -> None:
        """Read the data, and set `train` and what `evaluate` needs.

        Arguments:
            root: the folder that contains data sets, if one was given.

        Raises:
            ValueError: the task needs a `root`, but none was given.
            FileNotFoundError: the data set was not found; the message names the expected files.
            ImportError: the package that provides the data set is not installed.
        """

    @abstractmethod
    def make_model(self) -> nn.Module:
        """Return a model with new random weights from torch's global generator."""

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the model's outputs for a batch of the loader; by default `model(batch[0])`."""
        return model(batch[0])

    @abstractmethod
    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean loss of a batch: shape ()."""

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the loss of each sample, shape (B,), whose mean is `loss`.

        Implementing it is optional; variants that need per-sample losses are left out without it.
        """
        raise NotImplementedError

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Return the attributes of the task that do not depend on its data, as plain values."""
        return {name: getattr(cls, name) for name in DESCRIBED}

    @classmethod
    def recipe_of(cls, length: Length) -> Recipe:
        """Return the recipe of a length.

        Raises:
            ValueError: the task has no recipe of full length.
        """
        if length == "brief":
            return cls.recipe
        if cls.full_recipe is None:
            raise ValueError(
                f"{cls.name} has no recipe of full length: set full_recipe in the task, or give "
                "--epochs in place of --length full"
            )
        return cls.full_recipe

    @property
    def has_losses(self) -> bool:
        """Whether the task has per-sample losses."""
        return type(self).losses is not Task.losses

    def collate(self) -> Any:
        """Return the loader's `collate_fn`; `None` for torch's default."""
        return None

    @abstractmethod
    def evaluate(self, model: nn.Module) -> float:
        """Return the metric on data that was not trained on."""

    def other_metrics(self, model: nn.Module) -> Mapping[str, float]:
        """Return more metrics, by name, to be kept with the results; by default none."""
        return {}
