"""CIFAR-10, with a small convolutional network."""

from __future__ import annotations

from torch import nn

from ..recipe import Recipe
from .image_classification import ImageClassification
from .image_sets import VEHICLES_AND_ANIMALS
from .small_cnn import SmallCNN


class CifarCNN(ImageClassification):
    """2,000 of the training images."""

    name = "cifar10-cnn"
    dataset = "cifar10"
    samples = 2000
    model = "plain CNN"
    coarse = VEHICLES_AND_ANIMALS
    recipe = Recipe(epochs=10, batch_size=32, learning_rate=0.1, threads=1)

    def make_model(self) -> nn.Module:
        """Return a network of 25,000 parameters."""
        return SmallCNN(*self.shape[:2], self.num_classes)
