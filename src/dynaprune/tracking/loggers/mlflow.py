"""MLflow."""

from __future__ import annotations

from collections.abc import Mapping

from ...utils.optional_imports import require


class MLflowLogger:
    """Sends the metrics of each epoch to an MLflow run, with the epoch's number as the step.

    Arguments:
        run_id: the id of the run; by default that of the active run, or of a new one.

    Raises:
        ImportError: mlflow is not installed.
    """

    def __init__(self, run_id: str | None = None) -> None:
        self._mlflow = require("mlflow", "mlflow")
        self.run_id = run_id

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Send the metrics of an epoch."""
        self._mlflow.log_metrics(dict(metrics), step=epoch, run_id=self.run_id)
