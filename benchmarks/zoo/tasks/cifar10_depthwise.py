"""CIFAR-10, with depthwise separable convolutions."""

from __future__ import annotations

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.bench.tasks.image_classification import ImageClassification
from zoo.models.depthwise import DepthwiseCNN


class CifarDepthwise(ImageClassification):
    """2,000 of the training images."""

    name = "cifar10-depthwise"
    dataset = "cifar10"
    samples = 2000
    model = "depthwise CNN"
    recipe = Recipe(epochs=10, batch_size=32, learning_rate=0.15, threads=1)
    full_recipe = recipe.with_length(epochs=20, learning_rate=0.3)

    def make_model(self) -> nn.Module:
        """Return a network of two stages."""
        return DepthwiseCNN(3, self.num_classes, width=24, stride=2, stages=2)
