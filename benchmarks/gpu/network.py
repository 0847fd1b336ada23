"""A small, fast network for images of 32 × 32."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Two layers beside a shortcut.

    Arguments:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(layer(channels, channels), layer(channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return features + torch.as_tensor(self.layers(features))


def layer(before: int, after: int, *, stride: int = 1, pool: int = 1) -> nn.Sequential:
    """Return a convolution, normalised and rectified.

    Arguments:
        before: channels of the input.
        after: channels of the output.
        stride: of the convolution.
        pool: the size of max pooling; 1 for none.
    """
    convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    maxima: nn.Module = nn.Identity() if pool == 1 else nn.MaxPool2d(pool)
    return nn.Sequential(convolution, maxima, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Network(nn.Module):
    """Eight convolutions and a linear layer.

    Its form is that of the short residual networks with which CIFAR-10 is trained in seconds: wide,
    shallow, halved by maxima. The first halving is by a stride: at full resolution, most of a step
    would be normalisation and maxima. 2.5 million parameters at a width of 64.

    Arguments:
        width: channels of the first layer; later ones have two and four times as many.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.features = nn.Sequential(
            layer(3, width),
            layer(width, 2 * width, stride=2),
            Residual(2 * width),
            layer(2 * width, 4 * width, pool=2),
            layer(4 * width, 4 * width, pool=2),
            Residual(4 * width),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * width, 10, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (B, 10), of images, (B, 3, 32, 32).

        An eighth of what the last layer says: the maxima that it reads are large, and training
        begins with probabilities that are nearly equal.
        """
        return torch.as_tensor(self.head(self.features(images))) / 8
