"""Text classification with labels by rules beside the true ones."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import nn
from torch.utils.data import TensorDataset

from dynaprune.bench import Recipe
from dynaprune.bench.kinds import Kinds
from dynaprune.bench.tasks.classification import Classification
from zoo.datasets.rule_labels import load_rule_labelled
from zoo.models.bag_of_words import BagOfWords


class RuleLabelledTexts(Classification):
    """Texts are the numbers of their words, int64, (B, words), 0 where they have ended.

    Labels are the true ones, and `other_labels` has those by `rules`.

    Attributes:
        max_words: how many words of a text are read.
        coarse: for each class a coarser one, in which it is a kind; `None` if there are none.
        num_words: how many numbers there are.
    """

    kind: ClassVar[str] = "text classification"
    model: ClassVar[str] = "bag of words"
    max_words: ClassVar[int] = 64
    coarse: ClassVar[tuple[int, ...] | None] = None
    recipe: ClassVar[Recipe] = Recipe(
        epochs=20,
        batch_size=64,
        learning_rate=5e-3,
        optimizer="adamw",
        weight_decay=0.01,
        threads=1,
    )

    num_words: int

    def load(self, root: Path | None) -> None:
        """Read the texts."""
        found = load_rule_labelled(root, self.dataset, self.max_words)
        self.num_words = found.num_words
        self.train = TensorDataset(found.train, found.labels)
        self.test = TensorDataset(found.test, found.test_labels)
        if self.coarse is not None:
            self.kinds = Kinds(found.labels, found.test_labels, torch.tensor(self.coarse))
        self.other_labels = {"rules": lambda: found.by_rules}

    def make_model(self) -> nn.Module:
        """Return the mean of word vectors, with two layers."""
        by_rules = self.other_labels["rules"]()
        classes = max(self.num_classes, int(by_rules.max()) + 1)
        return BagOfWords(self.num_words, num_classes=classes)
