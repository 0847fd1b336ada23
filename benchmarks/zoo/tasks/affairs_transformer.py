"""Time spent in affairs (a survey of Redbook, 1974), with a transformer over columns."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from dynaprune.bench import Recipe
from zoo.datasets.tables import load_table
from zoo.kinds.regression import Regression
from zoo.models.columns import ColumnTransformer


class AffairsTransformer(Regression):
    """4,774 answers."""

    name = "affairs-transformer"
    kind = "tabular regression"
    dataset = "affairs"
    model = "FT-Transformer"
    recipe = Recipe(
        epochs=10,
        batch_size=64,
        learning_rate=2e-3,
        optimizer="adamw",
        weight_decay=0.01,
        threads=1,
    )

    def load(self, root: Path | None) -> None:
        """Read the table from statsmodels."""
        self.train, self.test = load_table(self.dataset)

    def make_model(self) -> nn.Module:
        """Return two layers."""
        return ColumnTransformer(self.train.tensors[0].shape[1], 1)
