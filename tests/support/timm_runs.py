"""Image sets whose pixels tell which sample an image is, for timm."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from helpers import mean_loss
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision_operators import declare_operators

from dynaprune import BLS, InfoBatch

PLAIN = {"is_training": True, "no_aug": True, "mean": (0, 0, 0), "std": (1, 1, 1)}
"""Arguments of timm's loader that leave pixels as they are, divided by 255."""


class Shades(Dataset[Any]):
    """Image i has the red value i, and so does its label: they show whether they fit together."""

    def __init__(self, length: int = 60) -> None:
        self.length, self.transform = length, None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.new("RGB", (4, 4), (index, 0, 0))), index


class Noise(Shades):
    """The label is a random number of NumPy, as an augmentation of a user's own draws it."""

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return super().__getitem__(index)[0], int(np.random.randint(2**31))  # noqa: NPY002


class Processes(Shades):
    """The label is the number of the process that reads the image."""

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return super().__getitem__(index)[0], os.getpid()


def pruned(dataset: Any, epochs: int = 4, method: Any = InfoBatch, **options: Any) -> Any:
    return BLS(method(dataset, num_epochs=epochs, **options)).proxy()


def shades_of(images: Tensor) -> list[int]:
    """Return the numbers of the samples that a batch of `Shades` shows."""
    return (images[:, 0, 0, 0].float() * 255).round().long().tolist()


def train_on(train: Any, loader: Any, stop_after: int | None = None) -> list[list[int]]:
    """Train an epoch, and return the samples of its batches."""
    served = []
    for images, labels in loader:
        train.update(mean_loss(labels))
        assert shades_of(images) == labels.tolist()
        served.append(labels.tolist())
        if len(served) == stop_after:
            break
    return served


def bls_of(epochs: list[list[list[int]]], length: int, alpha: float = 0.7) -> Tensor:
    """Return the scores by the formula of BLS, for the batches of each epoch."""
    scores = torch.full((length,), float(mean_loss(torch.tensor(epochs[0][0]))))
    for batch in (batch for epoch in epochs for batch in epoch):
        loss = float(mean_loss(torch.tensor(batch)))
        scores[batch] = alpha * scores[batch] + (1 - alpha) * loss
    return scores


def train_on_a_rank(rank: int) -> tuple[list[list[list[int]]], Tensor]:
    """Train four epochs by timm's loader, and return their batches and the scores."""
    declare_operators()
    from dynaprune.integrations.timm import create_loader

    train = pruned(Shades())
    device = torch.device("cpu")
    loader = create_loader(train, 4, 5, num_workers=0, device=device, distributed=True, **PLAIN)
    return [train_on(train, loader) for _ in range(4)], train.scores
