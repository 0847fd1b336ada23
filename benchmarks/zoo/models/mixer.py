"""MLP-Mixer."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class Mixing(nn.Module):
    """An MLP between patches, and one between channels, each beside a shortcut.

    Arguments:
        patches: how many there are.
        width: channels.
    """

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.before_patches, self.before_channels = nn.LayerNorm(width), nn.LayerNorm(width)
        self.patches = nn.Sequential(
            nn.Linear(patches, 2 * patches), nn.GELU(), nn.Linear(2 * patches, patches)
        )
        self.channels = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, (B, patches, width)."""
        features = features + self.patches(self.before_patches(features).mT).mT
        return cast("Tensor", features + self.channels(self.before_channels(features)))


class Mixer(nn.Module):
    """Patches of an image, mixed by MLPs.

    Source: Tolstikhin et al., "MLP-Mixer", arXiv:2105.01601.

    Arguments:
        channels: of the images.
        size: of the images, height and width; a multiple of `patch`.
        num_classes: the number of classes.
        patch: height and width of a patch.
        width: channels of the features.
        depth: how many layers.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        num_classes: int,
        patch: int = 4,
        width: int = 64,
        depth: int = 4,
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.layers = nn.Sequential(*(Mixing((size // patch) ** 2, width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (B, classes), of images, (B, C, H, W)."""
        features = self.layers(self.embed(images).flatten(2).mT)
        return cast("Tensor", self.head(self.norm(features).mean(1)))
