"""CIFAR-10, with a small ConvNeXt."""

from __future__ import annotations

from torch import nn

from ..kinds.images import ImageClassification
from ..kinds.transformers import image_classifier
from ..recipe import Recipe


class CifarConvNext(ImageClassification):
    """4,000 of the training images."""

    name = "cifar10-convnext"
    dataset = "cifar10"
    samples = 4000
    model = "ConvNeXt"
    recipe = Recipe(
        epochs=12,
        batch_size=64,
        learning_rate=3e-3,
        optimizer="adamw",
        weight_decay=0.05,
        threads=1,
    )

    def make_model(self) -> nn.Module:
        """Return a network of three stages, with patches of two pixels."""
        return image_classifier(
            "ConvNext",
            num_channels=3,
            image_size=32,
            patch_size=2,
            num_stages=3,
            hidden_sizes=[24, 48, 96],
            depths=[1, 2, 1],
            num_labels=self.num_classes,
        )
