"""U-Net, for masks, and for the noise of a diffusion."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu


class Stage(nn.Module):
    """Two convolutions with a normalisation each; between them the time, where there is one.

    Arguments:
        before: channels of the input.
        after: channels of the output.
        time: channels of the time; 0 for none.
    """

    def __init__(self, before: int, after: int, time: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, after), nn.GroupNorm(8, after)])
        self.time = nn.Linear(time, after) if time else None

    def forward(self, features: Tensor, time: Tensor | None) -> Tensor:
        """Return features, (B, after, H, W); the time is (B, channels)."""
        features = silu(self.norms[0](self.first(features)))
        if self.time is not None and time is not None:
            features = features + self.time(time)[:, :, None, None]
        return silu(self.norms[1](self.second(features)))


class UNet(nn.Module):
    """Down to a quarter of the size and up again, with shortcuts across.

    Source: Ronneberger et al., "U-Net", arXiv:1505.04597; with time, as in Ho et al., "Denoising
    Diffusion Probabilistic Models", arXiv:2006.11239.

    Arguments:
        channels: of the images.
        outputs: channels of what is returned.
        width: channels at full size; a multiple of 8.
        has_time: whether it is told a time with each image.
    """

    def __init__(
        self, channels: int, outputs: int, width: int = 16, *, has_time: bool = False
    ) -> None:
        super().__init__()
        self.width = width
        time = 4 * width if has_time else 0
        if has_time:
            self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU())
        self.down = nn.ModuleList([Stage(channels, width, time), Stage(width, 2 * width, time)])
        self.middle = Stage(2 * width, 4 * width, time)
        self.up = nn.ModuleList([Stage(6 * width, 2 * width, time), Stage(3 * width, width, time)])
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, images: Tensor, times: Tensor | None = None) -> Tensor:
        """Return (B, outputs, H, W) of images, (B, C, H, W), and times in [0, 1], (B,)."""
        time = None if times is None else self.time(waves(times, self.width))
        across = []
        for stage in self.down:
            images = stage(images, time)
            across.append(images)
            images = nn.functional.avg_pool2d(images, 2)
        images = self.middle(images, time)
        for stage, kept in zip(self.up, reversed(across), strict=True):
            images = interpolate(images, size=kept.shape[2:])
            images = stage(torch.cat([images, kept], dim=1), time)
        return cast("Tensor", self.head(images))


def waves(times: Tensor, width: int) -> Tensor:
    """Return sines and cosines of times in [0, 1], (B,), at many frequencies: (B, width)."""
    half = width // 2
    frequencies = 1000 * torch.exp(-math.log(1000) * torch.arange(half, device=times.device) / half)
    angles = times[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
