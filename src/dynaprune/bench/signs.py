"""Signs, measured during a full training run, of whether sample visits are wasted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..diagnostics.learned import learned_share
from ..utils.rng import restored_random_state
from .task import Task
from .training import losses_of

QUARTERS = 4


class Signs:
    """Measures the metric, and the losses of all training samples, after each quarter of a run.

    Arguments:
        task: the loaded task.
        data: the training set.
        epochs: the number of epochs of the run.
        batch_size: the batch size of the measurements.

    Attributes:
        found: lists by name: `epochs`, the number of completed epochs, and `quality`, the metric
            then; if the task has per-sample losses also `mean_loss` and `learned` (see
            `learned_share`), with `None` for unknown values.
    """

    def __init__(self, task: Task, data: Any, epochs: int, batch_size: int) -> None:
        self._task, self._data, self._batch_size = task, data, batch_size
        self._at = {math.ceil(epochs * part / QUARTERS) - 1 for part in range(1, QUARTERS + 1)}
        self.found: dict[str, list[Any]] = {}

    def look(self, epoch: int, model: nn.Module) -> None:
        """Measure a model if the epoch ends a quarter; its state does not change."""
        if epoch not in self._at:
            return
        self._append("epochs", epoch + 1)
        with restored_random_state([self._task.device]):
            model.eval()
            with torch.no_grad():
                self._append("quality", float(self._task.evaluate(model)))
            if self._task.has_losses:
                self._measure_losses(model)
        model.train()

    def _measure_losses(self, model: nn.Module) -> None:
        found = losses_of(self._task, model, self._data, self._batch_size)
        losses = found.double().numpy()
        self._append("mean_loss", float(losses.mean()))
        self._append("learned", learned_share(losses))

    def _append(self, name: str, value: float) -> None:
        finite = round(value, 6) if math.isfinite(value) else None
        self.found.setdefault(name, []).append(finite)


@dataclass(frozen=True)
class Shown:
    """Signs of full training at half of the run and after it: means over seeds, NaN if unknown.

    Attributes:
        learned: the share of the samples that held 5% of all loss at half of the run; see
            `learned_share`.
        rise: how much the metric improved in the second half, in its own units.
        fall: the share by which the mean loss of the training samples fell in the second half.
    """

    learned: float
    rise: float
    fall: float


def shown_by(lines: Iterable[Mapping[str, Any]], higher_is_better: bool) -> Shown | None:
    """Return the signs of the full training runs among results, `None` if none was measured.

    Arguments:
        lines: the results of one task, regime and recipe.
        higher_is_better: whether a higher metric is better.
    """
    found = [line["signs"] for line in lines if "quality" in line.get("signs", {})]
    if not found or len(found[0]["epochs"]) < 2:  # a single epoch has no second half
        return None
    epochs = found[0]["epochs"]
    half = next(place for place, epoch in enumerate(epochs) if 2 * epoch >= epochs[-1])
    quality, learned, loss = (
        np.array([signs.get(name, [None] * len(epochs)) for signs in found], dtype=np.float64)
        for name in ("quality", "learned", "mean_loss")
    )
    sign = 1 if higher_is_better else -1
    return Shown(
        learned=float(learned[:, half].mean()),
        rise=float(sign * (quality[:, -1] - quality[:, half]).mean()),
        fall=float((1 - loss[:, -1] / loss[:, half]).mean()),
    )
