"""What a full training shows on its way of whether visits are wasted."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ..diagnostics.random_state import restored_random_state
from ..diagnostics.waste import easy_half, learned_share
from .task import Task
from .training import losses_of

QUARTERS = 4


class Signs:
    """Looks at the metric, and at the losses of all training samples, after each quarter.

    Arguments:
        task: what is trained; its data are loaded.
        data: the training set.
        epochs: of the training.
        batch_size: of the passes that look.

    Attributes:
        found: by name a list: `epochs` that had ended, and `quality` then; where the task has a
            loss of each sample also `mean_loss`, `learned` and `easy_half`, with `None` for what is
            not known; see `learned_share` and `easy_half`.
    """

    def __init__(self, task: Task, data: Any, epochs: int, batch_size: int) -> None:
        self._task, self._data, self._batch_size = task, data, batch_size
        self._at = {math.ceil(epochs * part / QUARTERS) - 1 for part in range(1, QUARTERS + 1)}
        self.found: dict[str, list[Any]] = {}

    def look(self, epoch: int, model: nn.Module) -> None:
        """Look at a model after an epoch that ends a quarter, and leave it as it was."""
        if epoch not in self._at:
            return
        self._keep("epochs", epoch + 1)
        with restored_random_state([self._task.device]):
            model.eval()
            with torch.no_grad():
                self._keep("quality", float(self._task.evaluate(model)))
            if self._task.has_losses:
                self._look_at_losses(model)
        model.train()

    def _look_at_losses(self, model: nn.Module) -> None:
        found = losses_of(self._task, model, self._data, self._batch_size)
        losses = found.double().numpy()
        self._keep("mean_loss", float(losses.mean()))
        self._keep("learned", learned_share(losses))
        self._keep("easy_half", easy_half(losses))

    def _keep(self, name: str, value: float) -> None:
        kept = round(value, 6) if math.isfinite(value) else None
        self.found.setdefault(name, []).append(kept)
