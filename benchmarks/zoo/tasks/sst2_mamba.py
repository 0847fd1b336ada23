"""SST-2, with a state-space model from scratch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dynaprune.bench import Recipe
from dynaprune.utils.optional_imports import require
from zoo.kinds.sentences import SentenceClassification


class SentimentMamba(SentenceClassification):
    """3,460 of the sentences, of which 16 words are read."""

    name = "sst2-mamba"
    samples = 3460
    model = "Mamba"
    max_words = 16
    recipe = Recipe(
        epochs=5,
        batch_size=64,
        learning_rate=3e-3,
        optimizer="adamw",
        weight_decay=0.05,
        clip=1.0,
        threads=1,
    )

    def make_model(self) -> nn.Module:
        """Return a layer, and the mean of what it finds."""
        library = require("transformers", "bench")
        config = library.MambaConfig(
            vocab_size=self.num_words,
            hidden_size=32,
            num_hidden_layers=1,
            state_size=8,
            use_mambapy=False,
        )
        return Reader(library.MambaModel(config), config.hidden_size, self.num_classes)

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the logits of sentences."""
        return model(batch[0])


class Reader(nn.Module):
    """A model that reads words, and the mean of its states over the words there are."""

    def __init__(self, reader: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.reader = reader
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(width, num_classes))

    def forward(self, words: Tensor) -> Tensor:
        """Return logits, (B, classes), of words, int64, (B, words)."""
        is_word = (words != 0)[:, :, None]
        states = self.reader(input_ids=words).last_hidden_state
        mean = torch.where(is_word, states, 0).sum(1) / is_word.sum(1).clamp(min=1)
        logits: Tensor = self.head(mean)
        return logits
