"""Classification tasks: cross-entropy loss, and accuracy on test samples as the metric."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from ..kinds import Kinds
from ..task import Task


class Classification(Task):
    """Samples are pairs of inputs and a class, and models return logits, shape (B, classes).

    `load` sets `train` and `test`; `evaluate` returns the accuracy on `test`.

    Attributes:
        kinds: the kinds of samples inside of classes, if they are known.
    """

    metric: ClassVar[str] = "accuracy"
    margin: ClassVar[float] = 0.005
    in_percent: ClassVar[bool] = True

    train: TensorDataset
    test: TensorDataset
    kinds: Kinds | None = None

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return int(self.train.tensors[1].max()) + 1

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean cross-entropy."""
        return cross_entropy(outputs, batch[1])

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the cross-entropy of each sample, shape (B,)."""
        return cross_entropy(outputs, batch[1], reduction="none")

    def evaluate(self, model: nn.Module) -> float:
        """Return the share of test samples whose class has the largest logit."""
        return int(self.is_right(model).sum()) / len(self.test)

    def is_right(self, model: nn.Module) -> Tensor:
        """Return for each test sample whether its class has the largest logit: bool, shape (M,)."""
        found = []
        for batch in torch.utils.data.DataLoader(self.test, batch_size=500):
            inputs, labels = (part.to(self.device) for part in batch)
            found.append(self.outputs(model, (inputs, labels)).argmax(1) == labels)
        return torch.cat(found).cpu()


def some(data: TensorDataset, count: int | None) -> TensorDataset:
    """Return `count` samples, the same ones each time; `None` for all of them."""
    if count is None:
        return data
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return TensorDataset(*(part[order[:count]] for part in data.tensors))
