"""CIFAR-10, with a network that memorizes its training images, so that wrong labels hurt."""

from __future__ import annotations

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.bench.tasks.image_classification import ImageClassification
from dynaprune.bench.tasks.image_sets import VEHICLES_AND_ANIMALS
from zoo.models.unpooled_cnn import UnpooledCNN


class CifarUnpooled(ImageClassification):
    """12,000 of the training images."""

    name = "cifar10-unpooled"
    dataset = "cifar10"
    samples = 12_000
    model = "unpooled CNN"
    coarse = VEHICLES_AND_ANIMALS
    recipe = Recipe(
        epochs=20,
        batch_size=64,
        learning_rate=0.01,
        optimizer="adamw",
        weight_decay=0.01,
        threads=1,
    )

    def make_model(self) -> nn.Module:
        """Return a network of 34,000 parameters."""
        return UnpooledCNN(num_classes=self.num_classes)
