"""Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...utils.optional_imports import require

EPOCH = "pruning/epoch"


class WandbLogger:
    """Sends the numbers of each epoch to a run of Weights & Biases.

    They are drawn over `pruning/epoch`, and have no step of their own, so they do not get in the
    way of what else is logged to that run.

    Arguments:
        run: what `wandb.init()` returned; by default the run that is active at the first epoch's
            end.

    Raises:
        ImportError: wandb is not installed, and no run was given.
    """

    def __init__(self, run: Any = None) -> None:
        self._wandb = require("wandb", "wandb") if run is None else None
        self._run = run
        self._is_defined = False

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Send the numbers of an epoch.

        Raises:
            RuntimeError: no run is active.
        """
        run = self._run if self._wandb is None else self._wandb.run
        if run is None:
            raise RuntimeError(
                "no run of Weights & Biases is active: call wandb.init() before the first epoch "
                "ends, or give WandbLogger(run)"
            )
        if not self._is_defined:
            run.define_metric(EPOCH)
            run.define_metric("pruning/*", step_metric=EPOCH)
            self._is_defined = True
        run.log({EPOCH: epoch, **metrics})
