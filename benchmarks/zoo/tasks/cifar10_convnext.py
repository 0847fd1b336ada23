"""CIFAR-10, with a small ConvNeXt."""

from __future__ import annotations

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.bench.tasks.image_classification import ImageClassification
from zoo.kinds.transformers import image_classifier


class CifarConvNext(ImageClassification):
    """2,000 of the training images."""

    name = "cifar10-convnext"
    dataset = "cifar10"
    samples = 2000
    model = "ConvNeXt"
    recipe = Recipe(
        epochs=10,
        batch_size=32,
        learning_rate=3e-3,
        optimizer="adamw",
        weight_decay=0.05,
        threads=1,
    )

    def make_model(self) -> nn.Module:
        """Return a network of two stages, with patches of four pixels."""
        return image_classifier(
            "ConvNext",
            num_channels=3,
            image_size=32,
            patch_size=4,
            num_stages=2,
            hidden_sizes=[32, 64],
            depths=[1, 1],
            num_labels=self.num_classes,
        )
