"""Sentence classification: SST-2."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from torch.utils.data import TensorDataset

from dynaprune.bench.tasks.classification import Classification, some
from zoo.datasets.sentences import load_sentences


class SentenceClassification(Classification):
    """Sentences are the numbers of their words, int64, (B, words), 0 where they have ended.

    Attributes:
        samples: how many training sentences are taken, drawn once; `None` for all.
        max_words: how many of them are read.
        num_words: how many numbers there are.
    """

    kind: ClassVar[str] = "text classification"
    dataset: ClassVar[str] = "sst2"
    samples: ClassVar[int | None] = None
    max_words: ClassVar[int] = 32

    num_words: int

    def load(self, root: Path | None) -> None:
        """Read SST-2."""
        found = load_sentences(root, self.max_words)
        self.num_words = found.num_words
        self.train = some(TensorDataset(found.train, found.train_labels), self.samples)
        self.test = TensorDataset(found.test, found.test_labels)
