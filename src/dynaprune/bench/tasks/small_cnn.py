"""A small convolutional network."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """A convolutional network of about 25,000 parameters, for small images of any size.

    Arguments:
        channels: the number of channels of the images.
        size: their height and width; images above 16 pixels are halved once more.
        num_classes: the number of classes.
    """

    def __init__(self, channels: int, size: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2) if size > 16 else nn.Identity(),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, shape (B, classes), of images in [−1, 1], shape (B, C, H, W)."""
        return cast("Tensor", self.layers(images))
