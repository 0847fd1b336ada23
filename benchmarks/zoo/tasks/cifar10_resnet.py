"""CIFAR-10, with a narrow residual network."""

from __future__ import annotations

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.bench.tasks.image_classification import ImageClassification
from zoo.models.resnet import ResNet


class CifarResNet(ImageClassification):
    """2,000 of the training images."""

    name = "cifar10-resnet"
    dataset = "cifar10"
    samples = 2000
    model = "ResNet"
    recipe = Recipe(epochs=10, batch_size=32, learning_rate=0.1, threads=1)

    def make_model(self) -> nn.Module:
        """Return a network of three stages with a block each."""
        return ResNet(3, self.num_classes, width=12, stride=2, blocks=(1, 1, 1))
