"""Hourly temperatures of San Francisco, with an LSTM."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from dynaprune.bench import Recipe
from zoo.datasets.series import load_series
from zoo.kinds.regression import Regression
from zoo.models.lstm import ForecastLSTM

PAST, FUTURE = 48, 12


class TemperaturesLSTM(Regression):
    """6,510 windows of two days; the next twelve hours are told."""

    name = "temperatures-lstm"
    kind = "time-series forecasting"
    dataset = "sf-temperatures"
    model = "LSTM forecaster"
    margin = 0.001
    recipe = Recipe(
        epochs=8,
        batch_size=64,
        learning_rate=5e-3,
        optimizer="adamw",
        weight_decay=0.01,
        clip=1.0,
        threads=1,
    )

    def load(self, root: Path | None) -> None:
        """Read the series from vega_datasets."""
        self.train, self.test = load_series("temperatures", PAST, FUTURE)

    def make_model(self) -> nn.Module:
        """Return an LSTM of one layer."""
        return ForecastLSTM(self.train.tensors[0].shape[2], FUTURE)
