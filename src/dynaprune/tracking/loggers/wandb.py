"""Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...utils.optional_imports import require

EPOCH = "pruning/epoch"
"""The metric on the horizontal axis of all others."""


class WandbLogger:
    """Sends the metrics of each epoch to a Weights & Biases run.

    They are plotted over `pruning/epoch` and set no step, so they do not interfere with the steps
    of other metrics of that run.

    Arguments:
        run: the run that `wandb.init()` returned; by default the run that is active when the first
            epoch ends.

    Raises:
        ImportError: wandb is not installed, and no run was given.
    """

    def __init__(self, run: Any = None) -> None:
        self._wandb = require("wandb", "wandb") if run is None else None
        self._run = run
        self._is_defined = False

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Send the metrics of an epoch.

        Raises:
            RuntimeError: no run is active.
        """
        run = self._run if self._wandb is None else self._wandb.run
        if run is None:
            raise RuntimeError(
                "no Weights & Biases run is active: call wandb.init() before the first epoch "
                "ends, or pass a run: WandbLogger(run)"
            )
        if not self._is_defined:
            run.define_metric(EPOCH)
            run.define_metric("pruning/*", step_metric=EPOCH)
            self._is_defined = True
        run.log({EPOCH: epoch, **metrics})
