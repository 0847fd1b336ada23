"""What a full training shows on its way of whether visits are wasted."""

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
    """Looks at the metric, and at the losses of all training samples, after each quarter.

    Arguments:
        task: what is trained; its data are loaded.
        data: the training set.
        epochs: of the training.
        batch_size: of the passes that look.

    Attributes:
        found: by name a list: `epochs` that had ended, and `quality` then; where the task has a
            loss of each sample also `mean_loss` and `learned`, with `None` for what is not known;
            see `learned_share`.
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

    def _keep(self, name: str, value: float) -> None:
        kept = round(value, 6) if math.isfinite(value) else None
        self.found.setdefault(name, []).append(kept)


@dataclass(frozen=True)
class Shown:
    """What full trainings showed halfway, and after it; means over seeds, NaN if not known.

    Attributes:
        learned: the share of the samples that held 5% of all loss halfway; see `learned_share`.
        rise: how much better the metric became from there to the end, in its own units.
        fall: the share by which the mean loss of the training samples fell from there.
    """

    learned: float
    rise: float
    fall: float


def shown_by(lines: Iterable[Mapping[str, Any]], higher_is_better: bool) -> Shown | None:
    """Return what the full trainings among results showed, or `None` if none was looked at.

    Arguments:
        lines: the results of one task, regime and recipe.
        higher_is_better: whether a larger metric is a better one.
    """
    found = [line["signs"] for line in lines if "quality" in line.get("signs", {})]
    if not found or len(found[0]["epochs"]) < 2:  # of a single epoch there is no half
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
