"""Residual networks for small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn.functional import relu


class Block(nn.Module):
    """Two convolutions beside a shortcut.

    Arguments:
        before: channels of the input.
        after: channels of the output.
        stride: of the first convolution.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        is_same = before == after and stride == 1
        self.shortcut: nn.Module = nn.Identity()
        if not is_same:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, features: Tensor) -> Tensor:
        """Return features, (B, after, H / stride, W / stride)."""
        return relu(self.layers(features) + self.shortcut(features))


class ResNet(nn.Module):
    """A ResNet for small images: its first convolution is of 3 × 3, as for CIFAR.

    Source: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385.

    Arguments:
        channels: of the images.
        num_classes: the number of classes.
        width: channels of the first stage; each stage has twice those of the one before.
        blocks: blocks a stage; (2, 2, 2, 2) is ResNet-18.
        stride: of the first convolution; 1 keeps the size.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        width: int = 64,
        blocks: Sequence[int] = (2, 2, 2, 2),
        stride: int = 1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        before = width
        for stage, count in enumerate(blocks):
            after = width * 2**stage
            for number in range(count):
                layers.append(Block(before, after, 2 if stage > 0 and number == 0 else 1))
                before = after
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.features = nn.Sequential(*layers)
        self.num_features = before
        self.head = nn.Linear(before, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (B, classes), of images, (B, C, H, W)."""
        return cast("Tensor", self.head(self.features(images)))
