"""Image, text and audio tasks that two cores can train, for the studies in this folder.

Each has a real data set and a suitable small model. `load(name, root)` reads one of `NAMES` from
the folder that contains `cifar10-images.zip`, `sst2/` and `free-spoken-digits.zip`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from dynaprune.bench.regimes import mislabelled
from dynaprune.bench.tasks.image_sets import load_images
from dynaprune.bench.tasks.small_cnn import SmallCNN

sys.path.append(str(Path(__file__).parents[1]))  # the zoo is beside this folder
from zoo.datasets.rule_labels import load_rule_labelled
from zoo.datasets.sentences import load_sentences
from zoo.datasets.spoken import load_spoken
from zoo.models.bag_of_words import BagOfWords
from zoo.models.spectra import Spectra
from zoo.models.unpooled_cnn import UnpooledCNN

NAMES = ("images", "text", "audio")
RULE_LABELLED = ("trec", "chemprot")
WORDS = 32
"""How many words of a sentence are read."""


@dataclass(frozen=True)
class Task:
    """A data set and how to make a model for it.

    Attributes:
        name: one of `NAMES`.
        inputs: the training samples, shape (N, ...).
        labels: int64, shape (N,).
        test_inputs: shape (M, ...).
        test_labels: int64, shape (M,).
        make_model: returns a new model, which maps inputs to logits, shape (B, classes).
        learning_rate: the highest, of AdamW at batch size 64; it grows with the root of that.
        weight_decay: of AdamW.
    """

    name: str
    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    make_model: Callable[[], nn.Module]
    learning_rate: float
    weight_decay: float = 0.01

    @property
    def train(self) -> TensorDataset:
        return TensorDataset(self.inputs, self.labels)

    def first(self, count: int, seed: int = 0, *, test_on_rest: bool = False) -> Task:
        """Return the task with `count` of its training samples, drawn by `seed`.

        With `test_on_rest`, the other samples are added to the test set, for small test sets.
        """
        drawn = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(seed))
        chosen, rest = drawn[:count], drawn[count:]
        drawn_task = replace(self, inputs=self.inputs[chosen], labels=self.labels[chosen])
        if not test_on_rest:
            return drawn_task
        return replace(
            drawn_task,
            test_inputs=torch.cat([self.test_inputs, self.inputs[rest]]),
            test_labels=torch.cat([self.test_labels, self.labels[rest]]),
        )

    def mislabelled(self, share: float, seed: int = 0) -> tuple[Task, Tensor]:
        """Return the task with a share of wrong labels, and a mask of these: shape (N,)."""
        # an offset, so that no epoch's order repeats the random numbers of the wrong labels
        generator = torch.Generator().manual_seed(seed + 77_000)
        labels = mislabelled(self.labels, share, generator)
        return replace(self, labels=labels), labels != self.labels


class Pictures(SmallCNN):
    """The demo's network in the channels-last format, which takes half the time on a CPU."""

    def __init__(self) -> None:
        super().__init__(3, 32, 10)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.float() / 127.5 - 1
        return super().forward(pixels.contiguous(memory_format=torch.channels_last))


class Places(UnpooledCNN):
    """A network that can memorize images, in the channels-last format."""

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.float().contiguous(memory_format=torch.channels_last)
        return super().forward(pixels / 127.5 - 1)


@cache
def load(name: str, root: Path) -> Task:
    """Read a task's data: one of `NAMES`, or of `RULE_LABELLED` with true labels.

    For wrong labels: `wrong text` is `text` with a model that memorizes them less easily; `wrong
    images` and `wrong audio` are `images` and `audio` with models that memorize them more easily.
    """
    if name == "wrong images":
        return replace(load("images", root), make_model=Places)
    if name == "wrong audio":
        return replace(load("audio", root), make_model=lambda: Spectra(32, 10, width=128))
    if name == "wrong text":
        model = lambda: BagOfWords(_count_words(root), is_regularised=True)  # noqa: E731
        return replace(load("text", root), make_model=model, weight_decay=1.0)
    if name in RULE_LABELLED:
        return _rule_labelled(name, root)
    return {"images": _images, "text": _text, "audio": _audio}[name](root)


def _images(root: Path) -> Task:
    data = load_images("cifar10", root)
    inputs, labels = data.train.tensors
    return Task("images", inputs, labels, data.test_images, data.test_labels, Pictures, 0.01)


def _text(root: Path) -> Task:
    found = load_sentences(root, WORDS)
    model = lambda: BagOfWords(_count_words(root))  # noqa: E731
    return Task(
        "text", found.train, found.train_labels, found.test, found.test_labels, model, 0.005
    )


def _count_words(root: Path) -> int:
    task = load("text", root)
    return int(max(task.inputs.max(), task.test_inputs.max())) + 1


def _rule_labelled(name: str, root: Path) -> Task:
    found = load_rule_labelled(root, name)
    classes = int(max(found.labels.max(), found.by_rules.max())) + 1
    model = lambda: BagOfWords(found.num_words, num_classes=classes)  # noqa: E731
    return Task(name, found.train, found.labels, found.test, found.test_labels, model, 0.005)


def _audio(root: Path) -> Task:
    found = load_spoken(root)
    model = lambda: Spectra(32, 10)  # noqa: E731
    return Task("audio", *found.train.tensors, *found.test.tensors, model, 0.01)
