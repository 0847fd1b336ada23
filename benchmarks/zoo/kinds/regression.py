"""Regression of numbers: squared errors."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset

from dynaprune.bench import Task


class Regression(Task):
    """Samples are pairs of inputs and targets, (B,) or (B, numbers), and models return the latter.

    `load` sets `train` and `test`. Targets have variance 1, so the error of their mean is 1.
    """

    metric: ClassVar[str] = "mean squared error"
    margin: ClassVar[float] = 0.01
    higher_is_better: ClassVar[bool] = False

    train: TensorDataset
    test: TensorDataset

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the model's numbers, in the shape of the targets."""
        return model(batch[0]).reshape(batch[1].shape)

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean squared error."""
        return mse_loss(outputs, batch[1])

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean squared error of each sample: (B,)."""
        errors = mse_loss(outputs, batch[1], reduction="none")
        return errors.reshape(len(errors), -1).mean(1)

    def evaluate(self, model: nn.Module) -> float:
        """Return the mean squared error of the test set."""
        total = 0.0
        for batch in torch.utils.data.DataLoader(self.test, batch_size=500):
            inputs, targets = (part.to(self.device) for part in batch)
            outputs = self.outputs(model, (inputs, targets))
            total += float(self.loss(outputs, (inputs, targets))) * len(targets)
        return total / len(self.test)
