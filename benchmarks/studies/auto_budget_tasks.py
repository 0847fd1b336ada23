"""Small tasks on which `auto_budget.py` and `auto_budget_shares.py` train in seconds."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from tasks import BagOfWords
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy
from torch.utils.data import TensorDataset

from dynaprune.bench.regimes import mislabelled
from dynaprune.bench.tasks.image_sets import load_images
from dynaprune.bench.tasks.small_cnn import SmallCNN

sys.path.append(str(Path(__file__).parents[1]))  # the zoo is beside this folder
from zoo.datasets.characters import load_characters
from zoo.datasets.sentences import load_sentences
from zoo.datasets.tables import load_table
from zoo.models.mlp import mlp

NAMES = ("cifar", "mnist", "mnist-wrong", "digits", "visits", "sentences", "characters")
SEQUENCE = 48
"""The characters that a sample of `characters` predicts."""


@dataclass(frozen=True)
class Task:
    """A data set, a model for it and what to train it with.

    Attributes:
        train: pairs of inputs and targets.
        test: likewise.
        make_model: returns a new model.
        losses: returns the loss of each sample, (B,), from outputs and targets.
        epochs: of a brief training.
        batch_size: of a training step.
        learning_rate: the highest, of AdamW.
        is_classified: whether the metric is the accuracy in percent, and not the negative loss.
    """

    train: TensorDataset
    test: TensorDataset
    make_model: Callable[[], nn.Module]
    losses: Callable[[Tensor, Tensor], Tensor]
    epochs: int
    batch_size: int
    learning_rate: float
    is_classified: bool = True

    def rate_at(self, progress: float) -> float:
        """Return the learning rate at a share of the run: a warm-up of a tenth, then a cosine."""
        warm, rest = min(1.0, progress / 0.1), max(0.0, (progress - 0.1) / 0.9)
        return self.learning_rate * warm * (1 + math.cos(math.pi * rest)) / 2 + 1e-6

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> float:
        """Return the accuracy of the test set in percent, or 100 times its negative mean loss."""
        model.eval()
        total = 0.0
        for inputs, targets in zip(*(part.split(500) for part in self.test.tensors), strict=True):
            outputs = model(inputs)
            if self.is_classified:
                total += float((outputs.argmax(1) == targets).sum())
            else:
                total -= float(self.losses(outputs, targets).sum())
        model.train()
        return 100 * total / len(self.test)


class NextCharacter(nn.Module):
    """A gated recurrent network that predicts the next character at each place."""

    def __init__(self, num_characters: int, width: int = 96) -> None:
        super().__init__()
        self.characters = nn.Embedding(num_characters, 32)
        self.memory = nn.GRU(32, width, batch_first=True)
        self.head = nn.Linear(width, num_characters)

    def forward(self, texts: Tensor) -> Tensor:
        states: Tensor = self.memory(self.characters(texts))[0]
        return self.head(states)


def load(name: str, root: Path, seed: int = 0) -> Task:
    """Return a task by its name; `seed` draws the wrong labels of `mnist-wrong`."""
    if name == "mnist-wrong":
        task = _load("mnist", root)
        generator = torch.Generator().manual_seed(seed + 77_000)  # a seed that nothing else has
        images, labels = task.train.tensors
        wrong = TensorDataset(images, mislabelled(labels, 0.2, generator))
        return Task(
            wrong, task.test, task.make_model, task.losses, task.epochs, 32, task.learning_rate
        )
    return _load(name, root)


@cache
def _load(name: str, root: Path) -> Task:
    if name == "cifar":
        train, test = _images("cifar10", root, 6000, halve=True)
        return Task(train, test, lambda: SmallCNN(3, 16, 10), each_entropy, 16, 64, 0.01)
    if name == "mnist":
        train, test = _images("mnist5k", root, 3000, halve=True)
        return Task(train, test, lambda: SmallCNN(1, 14, 10), each_entropy, 12, 32, 0.01)
    if name == "digits":
        train, test = _images("digits", root, 898, halve=False)
        return Task(train, test, lambda: SmallCNN(1, 8, 10), each_entropy, 20, 32, 0.01)
    if name == "visits":
        train, test = load_table("medical-visits")
        model = lambda: mlp(train.tensors[0].shape[1], 1)  # noqa: E731
        return Task(train, test, model, each_square, 10, 64, 2e-3, is_classified=False)
    if name == "sentences":
        found = load_sentences(root, 32)
        train = TensorDataset(found.train, found.train_labels)
        test = TensorDataset(found.test, found.test_labels)
        model = lambda: BagOfWords(found.num_words)  # noqa: E731
        return Task(train, test, model, each_entropy, 8, 64, 0.005)
    characters, count = load_characters(root)
    samples = characters[: 6000 * (SEQUENCE + 1)].view(6000, -1)
    train, test = (TensorDataset(part[:, :-1], part[:, 1:]) for part in samples.split([5000, 1000]))
    model = lambda: NextCharacter(count)  # noqa: E731
    return Task(train, test, model, each_text, 10, 32, 0.005, is_classified=False)


def _images(
    name: str, root: Path, count: int, *, halve: bool
) -> tuple[TensorDataset, TensorDataset]:
    """Return as many training images, the same ones each time, and the test images, in [−1, 1]."""
    data = load_images(name, root)
    images, labels = data.train.tensors
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:count]

    def prepared(images: Tensor) -> Tensor:
        images = images.float() / 127.5 - 1
        return avg_pool2d(images, 2) if halve else images

    test = TensorDataset(prepared(data.test_images[:5000]), data.test_labels[:5000])
    return TensorDataset(prepared(images[chosen]), labels[chosen]), test


def each_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs, targets, reduction="none")


def each_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.squeeze(1) - targets).square()


def each_text(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(1)
