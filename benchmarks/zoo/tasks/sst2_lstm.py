"""SST-2, with an LSTM."""

from __future__ import annotations

from torch import nn

from dynaprune.bench import Recipe
from zoo.kinds.sentences import SentenceClassification
from zoo.models.lstm import SentenceLSTM


class SentimentLSTM(SentenceClassification):
    """6,920 sentences."""

    name = "sst2-lstm"
    model = "LSTM"
    recipe = Recipe(
        epochs=6,
        batch_size=64,
        learning_rate=5e-3,
        optimizer="adamw",
        weight_decay=0.05,
        clip=1.0,
        threads=1,
    )
    full_recipe = recipe.with_length(epochs=24, learning_rate=0.005)

    def make_model(self) -> nn.Module:
        """Return an LSTM of one layer in both directions."""
        return SentenceLSTM(self.num_words, self.num_classes)
