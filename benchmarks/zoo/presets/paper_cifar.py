"""CIFAR-10 with a ResNet-18, by the recipe of the papers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dynaprune.bench import Recipe
from dynaprune.bench.tasks.image_classification import ImageClassification
from zoo.augmentation import mirrored, shifted
from zoo.models.resnet import ResNet

SMOOTHING = 0.1
RISE = 0.3
"""The share of a run in which the learning rate rises."""


@dataclass(frozen=True)
class OneCycle(Recipe):
    """One cycle of the learning rate, and of the momentum against it, as `OneCycleLR` has it.

    The rate rises from a twenty-fifth over 30% of the run, and falls to a ten-thousandth of that;
    the momentum falls from 0.95 to 0.85, and rises again.
    """

    def set_rates(self, optimizer: torch.optim.Optimizer, progress: float) -> None:
        """Set learning rate and momentum at a run's progress, in [0, 1]."""
        first, highest = self.learning_rate / 25, self.learning_rate
        if progress < RISE:
            share = progress / RISE
            rate, momentum = _between(first, highest, share), _between(0.95, 0.85, share)
        else:
            share = (progress - RISE) / (1 - RISE)
            rate, momentum = _between(highest, first / 1e4, share), _between(0.85, 0.95, share)
        for group in optimizer.param_groups:
            group.update(lr=rate, momentum=momentum)


def _between(start: float, end: float, share: float) -> float:
    """Return what lies between two numbers, along half a wave of the cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


class PaperCifar(ImageClassification):
    """CIFAR-10 with a ResNet-18, as in the published code of InfoBatch, whose recipe BLS takes.

    Random flips and crops of images that are padded by reflection, labels smoothed by 0.1, LARS
    with a rate of up to 5.2, one cycle, 200 epochs, batches of 128.
    """

    name = "cifar10-resnet18-paper"
    dataset = "cifar10"
    model = "ResNet-18"
    recipe = OneCycle(
        epochs=200, batch_size=128, learning_rate=5.2, optimizer="lars", weight_decay=5e-4
    )

    def make_model(self) -> nn.Module:
        """Return a ResNet-18 with 64 channels at first."""
        return ResNet(3, self.num_classes, width=64, blocks=(2, 2, 2, 2))

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the logits of images, of augmented ones in training."""
        images = batch[0]
        if model.training:
            images = mirrored(shifted(images, 4, "reflect"))
        return super().outputs(model, (images, *batch[1:]))

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean cross-entropy with smoothed labels."""
        return cross_entropy(outputs, batch[1], label_smoothing=SMOOTHING)

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the cross-entropy with smoothed labels of each sample: (B,)."""
        return cross_entropy(outputs, batch[1], label_smoothing=SMOOTHING, reduction="none")
