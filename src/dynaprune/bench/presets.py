"""Tasks of papers at their size, for those with a GPU; `bench list` does not show them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from .kinds.images import ImageClassification
from .models.resnet import ResNet
from .recipe import Recipe
from .task import Task

SMOOTHING = 0.1
PADDING = 4


class PaperCifar(ImageClassification):
    """CIFAR-10 with a ResNet-18, as in the published code of InfoBatch, whose recipe BLS takes.

    Random flips and crops of images that are padded by reflection, labels smoothed by 0.1, LARS
    with a rate of up to 5.2, one cycle, 200 epochs, batches of 128.
    """

    name = "cifar10-resnet18-paper"
    dataset = "cifar10"
    model = "ResNet-18"
    recipe = Recipe(
        epochs=200, batch_size=128, learning_rate=5.2, optimizer="lars", weight_decay=5e-4
    )

    def make_model(self) -> nn.Module:
        """Return a ResNet-18 with 64 channels at first."""
        return ResNet(3, self.num_classes, width=64, blocks=(2, 2, 2, 2))

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the logits of images, of augmented ones in training."""
        images = augmented(batch[0]) if model.training else batch[0]
        return super().outputs(model, (images, *batch[1:]))

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean cross-entropy with smoothed labels."""
        return cross_entropy(outputs, batch[1], label_smoothing=SMOOTHING)

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the cross-entropy with smoothed labels of each sample: (B,)."""
        return cross_entropy(outputs, batch[1], label_smoothing=SMOOTHING, reduction="none")


def augmented(images: Tensor) -> Tensor:
    """Return images, (B, C, H, W), each shifted by up to four pixels, half of them mirrored."""
    count, _, height, width = images.shape
    kind = images.dtype
    padded = pad(images.float(), (PADDING,) * 4, mode="reflect").to(kind)
    shifts = torch.randint(0, 2 * PADDING + 1, (2, count, 1), device=images.device)
    rows = shifts[0] + torch.arange(height, device=images.device)
    columns = shifts[1] + torch.arange(width, device=images.device)
    is_flipped = torch.rand(count, 1, device=images.device) < 0.5
    columns = torch.where(is_flipped, columns.flip(1), columns)
    everyone = torch.arange(count, device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[everyone, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


PRESETS: dict[str, type[Task]] = {"paper-cifar": PaperCifar}
