"""Free Spoken Digits, with convolutions over time."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.bench.kinds import Kinds
from dynaprune.bench.tasks.classification import Classification
from zoo.datasets.spoken import load_spoken
from zoo.models.spectra import Spectra


class SpokenDigitsCNN(Classification):
    """2,700 clips of six speakers, as spectrograms."""

    name = "spoken-digits-cnn"
    kind = "speech-command classification"
    dataset = "free-spoken-digits"
    model = "1-D CNN"
    recipe = Recipe(
        epochs=15,
        batch_size=32,
        learning_rate=5e-3,
        optimizer="adamw",
        weight_decay=0.01,
        threads=1,
    )
    full_recipe = recipe.with_length(epochs=30, learning_rate=0.005)

    def load(self, root: Path | None) -> None:
        """Read the clips; the six speakers are kinds."""
        found = load_spoken(root)
        self.train, self.test = found.train, found.test
        self.kinds = Kinds(found.speakers, found.test_speakers)

    def make_model(self) -> nn.Module:
        """Return two convolutions."""
        return Spectra(32, self.num_classes)
