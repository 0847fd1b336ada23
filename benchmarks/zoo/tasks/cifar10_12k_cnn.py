"""CIFAR-10, with a small convolutional network that trains longer than `cifar10-cnn`."""

from __future__ import annotations

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.bench.tasks.image_classification import ImageClassification
from dynaprune.bench.tasks.small_cnn import SmallCNN


class TwelveThousandCifarCNN(ImageClassification):
    """12,000 of the training images."""

    name = "cifar10-12k-cnn"
    dataset = "cifar10"
    samples = 12_000
    model = "plain CNN"
    recipe = Recipe(
        epochs=20,
        batch_size=64,
        learning_rate=0.01,
        optimizer="adamw",
        weight_decay=0.01,
        threads=1,
    )

    def make_model(self) -> nn.Module:
        """Return a network of 25,000 parameters."""
        return SmallCNN(*self.shape[:2], self.num_classes)
