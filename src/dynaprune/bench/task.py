"""Task: what is trained, on what, and how it is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
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
    """Data, a model, a loss and a metric. A subclass with these is a file in `tasks/`, or a user's.

    It is made anew for each process that trains, and `load` is called once, before all else.

    Attributes:
        name: by which it is run; unique.
        kind: of task, such as "image classification".
        dataset: the data set's name.
        model: the architecture's name.
        metric: the name of what `evaluate` returns.
        margin: how much of the metric may be lost in a training that is still called lossless,
            in the metric's own units. It is set before anything is measured.
        higher_is_better: whether a larger metric is a better one.
        in_percent: whether the metric is a share, and is shown in percent.
        recipe: how it is trained, unless something else is asked for.
        full_recipe: how it is trained until more epochs gain nothing; `None` if that is not known.
        can_slice: whether the loss of a slice of a batch is the mean loss of its samples. It is not
            where samples are compared with each other, as in contrastive losses.
        lists: what lists in outputs and batches are where shapes do not tell: "parts" of a batch,
            such as inputs and labels, or "samples"; see `chunked`.
        drop_last: whether the last batch of an epoch is left out where it is smaller, for models
            that cannot train on a single sample, as with `BatchNorm1d`: the length of a pruned
            epoch changes, so any may end in a batch of one.
        learns_labels: whether the second of two tensors of its training set is the class that it
            learns, which regimes may change.
        train: the training set, once `load` has been called: a map-style dataset.
        device: where the model and its batches are.

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
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def load(self, root: Path | None) -> None:
        """Read the data, and set `train` and what `evaluate` needs.

        Arguments:
            root: the folder that holds data sets, where one was given.

        Raises:
            ValueError: there has to be a `root`.
            FileNotFoundError: the data set is not there; the message says what was looked for.
            ImportError: the package that brings it is not installed.
        """

    @abstractmethod
    def make_model(self) -> nn.Module:
        """Return a model with new weights, drawn from torch's global generator."""

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return what the model makes of a batch, as the loader gives it."""
        return model(batch[0])

    @abstractmethod
    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean loss of a batch: shape ()."""

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the loss of each sample, shape (B,), whose mean is `loss`.

        Left out where that cannot be had, or not easily.
        """
        raise NotImplementedError

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Return what is known of the task without its data, as plain values."""
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
        """Whether the task has a loss of each sample."""
        return type(self).losses is not Task.losses

    def collate(self) -> Any:
        """Return the loader's `collate_fn`; `None` for torch's own."""
        return None

    @abstractmethod
    def evaluate(self, model: nn.Module) -> float:
        """Return the metric on data that was not trained on."""
