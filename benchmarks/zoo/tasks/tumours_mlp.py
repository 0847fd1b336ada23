"""Tumours, benign or not (Breast Cancer Wisconsin, scikit-learn), with a perceptron."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.bench.tasks.classification import Classification
from zoo.datasets.tables import load_table
from zoo.models.mlp import mlp


class TumoursMLP(Classification):
    """427 tumours."""

    name = "tumours-mlp"
    kind = "tabular classification"
    dataset = "breast-cancer"
    model = "MLP"
    recipe = Recipe(
        epochs=30,
        batch_size=16,
        learning_rate=2e-3,
        optimizer="adamw",
        weight_decay=0.01,
        threads=1,
    )
    full_recipe = recipe.with_length(epochs=30, learning_rate=0.002)

    def load(self, root: Path | None) -> None:
        """Read the table from scikit-learn."""
        self.train, self.test = load_table(self.dataset)

    def make_model(self) -> nn.Module:
        """Return two hidden layers."""
        return mlp(self.train.tensors[0].shape[1], self.num_classes, width=64)
