"""Patches of outdoor photographs (Statlog, image segmentation), with a perceptron."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dynaprune.bench import Recipe
from dynaprune.bench.kinds import Kinds
from dynaprune.bench.tasks.classification import Classification
from zoo.datasets.tables import SEGMENTS, load_table
from zoo.models.mlp import mlp

BUILT = ("brickface", "cement", "path", "window")


class SegmentsMLP(Classification):
    """1,732 patches."""

    name = "segments-mlp"
    kind = "tabular classification"
    dataset = "image-segments"
    model = "MLP"
    recipe = Recipe(
        epochs=40,
        batch_size=16,
        learning_rate=2e-3,
        optimizer="adamw",
        weight_decay=0.01,
        threads=1,
    )

    def load(self, root: Path | None) -> None:
        """Read the table from River; what was built and what grew are the coarser classes."""
        self.train, self.test = load_table(self.dataset)
        coarse = torch.tensor([int(name not in BUILT) for name in SEGMENTS])
        self.kinds = Kinds(self.train.tensors[1], self.test.tensors[1], coarse)

    def make_model(self) -> nn.Module:
        """Return two hidden layers."""
        return mlp(self.train.tensors[0].shape[1], self.num_classes, width=64)
