"""Rendered words, read by a CRNN with CTC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss
from torch.utils.data import TensorDataset

from dynaprune.bench import Recipe, Task
from zoo.datasets.words import HEIGHT, LETTERS, render_words
from zoo.models.crnn import CRNN


class WordsCRNN(Task):
    """1,500 words in eight fonts and sizes, on noise."""

    name = "words-crnn"
    kind = "text recognition"
    dataset = "rendered-words"
    model = "CRNN"
    metric = "word accuracy"
    margin = 0.01
    in_percent = True
    recipe = Recipe(
        epochs=20,
        batch_size=16,
        learning_rate=5e-3,
        optimizer="adamw",
        weight_decay=0.01,
        clip=5.0,
        threads=1,
    )

    test: TensorDataset

    def load(self, root: Path | None) -> None:
        """Draw the words."""
        self.train, self.test = (
            TensorDataset(words.images, words.letters, words.lengths)
            for words in (render_words(1500, seed=0), render_words(1000, seed=1))
        )

    def make_model(self) -> nn.Module:
        """Return a network that tells 27 letters, of which 0 is none."""
        return CRNN(HEIGHT, len(LETTERS) + 1, width=24)

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return log-probabilities of the letter at each column: (B, columns, letters)."""
        return model(batch[0].float() / 127.5 - 1).log_softmax(-1)

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean CTC loss a letter, word by word."""
        return self.losses(outputs, batch).mean()

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the CTC loss of each word, divided by its letters: (B,)."""
        _, letters, lengths = batch
        columns = torch.full((len(letters),), outputs.shape[1])
        each = ctc_loss(outputs.transpose(0, 1), letters, columns, lengths, reduction="none")
        found: Tensor = each / lengths
        return found

    def evaluate(self, model: nn.Module) -> float:
        """Return the share of the test words that are read without a mistake."""
        right = 0
        for batch in torch.utils.data.DataLoader(self.test, batch_size=200):
            images, letters, lengths = (part.to(self.device) for part in batch)
            best = self.outputs(model, (images, letters, lengths)).argmax(-1).cpu()
            for found, word, length in zip(best, letters.cpu(), lengths.tolist(), strict=True):
                read = torch.unique_consecutive(found)
                right += torch.equal(read[read > 0], word[:length])
        return right / len(self.test)
