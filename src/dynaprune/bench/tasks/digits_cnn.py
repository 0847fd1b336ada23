"""Digits of 8×8 pixels (scikit-learn), with a small convolutional network."""

from __future__ import annotations

from torch import nn

from ..recipe import Recipe
from .image_classification import ImageClassification
from .small_cnn import SmallCNN


class DigitsCNN(ImageClassification):
    """A plain CNN on all 898 training images."""

    name = "digits-cnn"
    dataset = "digits"
    model = "plain CNN"
    coarse = (0, 1) * 5  # even, odd
    recipe = Recipe(epochs=30, batch_size=32, learning_rate=0.02, threads=1)
    full_recipe = recipe.with_length(epochs=60, learning_rate=0.02)

    def make_model(self) -> nn.Module:
        """Return a network of 25,000 parameters."""
        return SmallCNN(*self.shape[:2], self.num_classes)
