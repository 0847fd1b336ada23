"""How often people see a doctor (RAND Health Insurance Experiment), with a perceptron."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from dynaprune.bench import Recipe
from zoo.datasets.tables import load_table
from zoo.kinds.regression import Regression
from zoo.models.mlp import mlp


class VisitsMLP(Regression):
    """15,142 people."""

    name = "visits-mlp"
    kind = "tabular regression"
    dataset = "medical-visits"
    model = "MLP"
    recipe = Recipe(
        epochs=10,
        batch_size=64,
        learning_rate=2e-3,
        optimizer="adamw",
        weight_decay=0.01,
        threads=1,
    )
    full_recipe = recipe.with_length(epochs=20, learning_rate=0.004)

    def load(self, root: Path | None) -> None:
        """Read the table from statsmodels."""
        self.train, self.test = load_table(self.dataset)

    def make_model(self) -> nn.Module:
        """Return two hidden layers."""
        return mlp(self.train.tensors[0].shape[1], 1)
