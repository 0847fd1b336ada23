"""SST-2, with a small BERT from scratch."""

from __future__ import annotations

from typing import Any

from torch import nn

from dynaprune.bench import Recipe
from dynaprune.utils.optional_imports import require
from zoo.kinds.sentences import SentenceClassification


class SentimentBert(SentenceClassification):
    """3,460 of the sentences."""

    name = "sst2-bert"
    samples = 3460
    model = "BERT"
    recipe = Recipe(
        epochs=5,
        batch_size=32,
        learning_rate=1e-3,
        optimizer="adamw",
        weight_decay=0.05,
        clip=1.0,
        threads=1,
    )

    def make_model(self) -> nn.Module:
        """Return an encoder of two layers."""
        library = require("transformers", "bench")
        config = library.BertConfig(
            vocab_size=self.num_words,
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=96,
            max_position_embeddings=self.max_words,
            hidden_dropout_prob=0.3,
            num_labels=self.num_classes,
        )
        model: nn.Module = library.BertForSequenceClassification(config)
        return model

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the logits of sentences."""
        words = batch[0]
        return model(input_ids=words, attention_mask=(words != 0).long()).logits
