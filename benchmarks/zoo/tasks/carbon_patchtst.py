"""Weekly carbon dioxide at Mauna Loa, with a transformer over patches of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.utils.optional_imports import require
from zoo.datasets.series import load_series
from zoo.kinds.regression import Regression

PAST, FUTURE = 52, 13


class CarbonPatchTST(Regression):
    """1,600 windows of a year; the next quarter is told."""

    name = "carbon-patchtst"
    kind = "time-series forecasting"
    dataset = "mauna-loa-co2"
    model = "PatchTST"
    recipe = Recipe(
        epochs=12,
        batch_size=32,
        learning_rate=1e-3,
        optimizer="adamw",
        weight_decay=0.01,
        threads=1,
    )
    full_recipe = recipe.with_length(epochs=12, learning_rate=0.0005)

    def load(self, root: Path | None) -> None:
        """Read the series from statsmodels."""
        self.train, self.test = load_series("carbon-dioxide", PAST, FUTURE)

    def make_model(self) -> nn.Module:
        """Return two layers over patches of eight weeks."""
        library = require("transformers", "bench")
        config = library.PatchTSTConfig(
            num_input_channels=1,
            context_length=PAST,
            prediction_length=FUTURE,
            patch_length=8,
            patch_stride=4,
            d_model=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=64,
        )
        model: nn.Module = library.PatchTSTForPrediction(config)
        return model

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the next quarter: (B, 13)."""
        return model(past_values=batch[0][:, :, :1]).prediction_outputs[..., 0]
