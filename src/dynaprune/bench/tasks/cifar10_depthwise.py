"""CIFAR-10, with depthwise separable convolutions."""

from __future__ import annotations

from torch import nn

from ..kinds.images import ImageClassification
from ..models.depthwise import DepthwiseCNN
from ..recipe import Recipe


class CifarDepthwise(ImageClassification):
    """4,000 of the training images."""

    name = "cifar10-depthwise"
    dataset = "cifar10"
    samples = 4000
    model = "depthwise CNN"
    recipe = Recipe(epochs=12, batch_size=64, learning_rate=0.1, threads=1)

    def make_model(self) -> nn.Module:
        """Return a network of three stages."""
        return DepthwiseCNN(3, self.num_classes, width=24)
