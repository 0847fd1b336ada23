"""Depthwise separable convolutions."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class DepthwiseCNN(nn.Module):
    """A small MobileNet: convolutions within channels, then between them.

    Source: Howard et al., "MobileNets", arXiv:1704.04861.

    Arguments:
        channels: of the images.
        num_classes: the number of classes.
        width: channels of the first stage; each of the others has twice those before.
        stages: how often the size is halved.
        stride: of the first convolution; 1 keeps the size.
    """

    def __init__(
        self, channels: int, num_classes: int, width: int = 32, stages: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        for _ in range(stages):
            layers += [
                nn.Conv2d(width, width, 3, 2, padding=1, groups=width, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, 2 * width, 1, bias=False),
                nn.BatchNorm2d(2 * width),
                nn.ReLU(),
            ]
            width *= 2
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (B, classes), of images, (B, C, H, W)."""
        return cast("Tensor", self.layers(images))
