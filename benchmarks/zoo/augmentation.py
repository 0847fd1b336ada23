"""Random changes of images, drawn anew for each image of a batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad


def shifted(images: Tensor, most: int, border: Literal["constant", "reflect"]) -> Tensor:
    """Return images, (B, C, H, W), each moved by up to `most` pixels in both directions.

    What comes in at the border is black, or the image's own reflection.
    """
    count, _, height, width = images.shape
    padded = pad(images.float(), (most,) * 4, mode=border).to(images.dtype)
    steps = torch.randint(0, 2 * most + 1, (2, count, 1), device=images.device)
    rows = steps[0] + torch.arange(height, device=images.device)
    columns = steps[1] + torch.arange(width, device=images.device)
    everyone = torch.arange(count, device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[everyone, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def mirrored(images: Tensor) -> Tensor:
    """Return images, (B, C, H, W), half of them with left and right exchanged."""
    is_mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(is_mirrored, images.flip(3), images)


def holed(images: Tensor, side: int) -> Tensor:
    """Return images, (B, C, H, W), with a black square somewhere in each."""
    inside = []
    for size in images.shape[2:]:
        start = torch.randint(0, size - side + 1, (len(images), 1), device=images.device)
        steps = torch.arange(size, device=images.device)
        inside.append((steps >= start) & (steps < start + side))
    rows, columns = inside
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)
