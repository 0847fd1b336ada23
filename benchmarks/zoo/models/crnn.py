"""CRNN: convolutions, then an LSTM along the line that is read."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class CRNN(nn.Module):
    """Tells the letters of a line at each of its columns.

    Source: Shi et al., "An End-to-End Trainable Neural Network for Image-based Sequence
    Recognition", arXiv:1507.05717.

    Arguments:
        height: of the images, a multiple of 8.
        letters: how many kinds of letters there are, none included.
        width: channels.
    """

    def __init__(self, height: int, letters: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, pool in ((1, width // 2, 2), (width // 2, width, 2), (width, width, 1)):
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d((2, pool)),
            ]
        self.layers = nn.Sequential(*layers)
        self.lstm = nn.LSTM(width * (height // 8), width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, letters)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (B, W / 4, letters), of images, (B, 1, H, W)."""
        images = images.contiguous(memory_format=torch.channels_last)  # half the time on a CPU
        features = self.layers(images)  # (B, width, H / 8, W / 4)
        states, _ = self.lstm(features.flatten(1, 2).mT)
        return cast("Tensor", self.head(states))
