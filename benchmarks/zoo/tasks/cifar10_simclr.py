"""CIFAR-10 without labels: SimCLR, where a loss of one sample does not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import TensorDataset

from dynaprune.bench import Recipe, Task
from dynaprune.bench.tasks.classification import some
from dynaprune.bench.tasks.image_sets import ImageData, load_images
from dynaprune.utils.optional_imports import require
from zoo.augmentation import mirrored, shifted
from zoo.models.resnet import ResNet

TEMPERATURE = 0.2


class CifarSimCLR(Task):
    """2,000 of the training images; judged by a linear classifier of what the network has learned.

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations",
    arXiv:2002.05709.
    """

    name = "cifar10-simclr"
    kind = "contrastive learning"
    dataset = "cifar10"
    model = "ResNet, SimCLR"
    metric = "linear probe accuracy"
    margin = 0.01
    in_percent = True
    can_slice = False
    recipe = Recipe(
        epochs=10,
        batch_size=64,
        learning_rate=3e-3,
        optimizer="adamw",
        weight_decay=1e-4,
        threads=1,
    )

    labelled: TensorDataset
    images: ImageData

    def load(self, root: Path | None) -> None:
        """Read the images; their labels are for the classifier alone."""
        self.images = load_images("cifar10", root)
        self.labelled = some(self.images.train, 2000)
        self.train = TensorDataset(self.labelled.tensors[0])

    def make_model(self) -> nn.Module:
        """Return a narrow ResNet with two layers behind it."""
        model = ResNet(3, 1, width=12, stride=2, blocks=(1, 1, 1))
        width = model.num_features
        model.head = nn.Sequential(  # type: ignore[assignment]
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 32)
        )
        return model

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the directions of two views of each image: (2, B, 32)."""
        views = torch.cat([_view(batch[0]), _view(batch[0])])
        return normalize(model(views), dim=1).reshape(2, len(batch[0]), -1)

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return how badly each view is told to belong to its other view, among all views."""
        count = outputs.shape[1]
        every = outputs.flatten(0, 1)
        likeness = every @ every.T / TEMPERATURE
        likeness = likeness.masked_fill(
            torch.eye(2 * count, dtype=torch.bool, device=every.device), -torch.inf
        )
        other = torch.arange(2 * count, device=every.device).roll(count)
        return cross_entropy(likeness, other)

    def evaluate(self, model: nn.Module) -> float:
        """Return the accuracy of a logistic regression of the features, on 2,000 test images."""
        linear = require("sklearn.linear_model", "bench")

        def features(images: Tensor) -> Any:
            pixels = (part.to(self.device).float() / 127.5 - 1 for part in torch.split(images, 500))
            return torch.cat([model.features(part) for part in pixels]).cpu().numpy()  # type: ignore[operator]

        inputs, labels = self.labelled.tensors
        tests, truth = self.images.test_images[:2000], self.images.test_labels[:2000]
        known = features(inputs)
        mean, spread = known.mean(0), known.std(0) + 1e-6
        classifier = linear.LogisticRegression(C=0.1, max_iter=500)
        classifier.fit((known - mean) / spread, labels.numpy())
        return float(classifier.score((features(tests) - mean) / spread, truth.numpy()))


def _view(images: Tensor) -> Tensor:
    """Return images as floats in [−1, 1], moved, mirrored, and changed in brightness and colour."""
    pixels = mirrored(shifted(images, 4, "reflect")).float() / 127.5 - 1
    shape = (len(images), 1, 1, 1)
    contrast = torch.empty(shape, device=pixels.device).uniform_(0.6, 1.4)
    brightness = torch.empty(shape, device=pixels.device).uniform_(-0.4, 0.4)
    colour = torch.empty(len(images), 3, 1, 1, device=pixels.device).uniform_(-0.2, 0.2)
    grey = pixels.mean(1, keepdim=True).expand_as(pixels)
    is_grey = torch.rand(shape, device=pixels.device) < 0.2
    return torch.where(is_grey, grey, contrast * pixels + brightness + colour)
