"""A convolutional network without global pooling, which can memorize images."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UnpooledCNN(nn.Module):
    """Three convolutions, and a linear layer on all places.

    Takes images of 32×32 with three channels, in [−1, 1].
    """

    def __init__(self, width: int = 16, num_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * width, num_classes))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's own omission

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits
