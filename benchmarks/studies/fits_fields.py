"""Functions of coordinates to fit, here and on a GPU; torch alone computes them."""

from __future__ import annotations

import torch
from torch import Tensor


def hollow_box_on_ring(points: Tensor) -> Tensor:
    """Return the signed distances of points to a hollow, rounded box on a ring: shape (B, 1).

    Arguments:
        points: shape (B, 3), from −1 to 1.
    """
    beyond = points.abs() - torch.tensor([0.5, 0.35, 0.25], device=points.device)
    box = beyond.clamp(min=0).norm(dim=1) + beyond.amax(1).clamp(max=0) - 0.05
    hollow = torch.maximum(box, 0.3 - points.norm(dim=1))
    ring_axis = points[:, :2].norm(dim=1) - 0.75
    ring = torch.stack([ring_axis, points[:, 2]]).norm(dim=0) - 0.08
    return torch.minimum(hollow, ring)[:, None]


def julia_set(points: Tensor, steps: int = 200) -> Tensor:
    """Return how late z² − 0.8 + 0.156i leaves a circle, smoothly, in [0, 1]: shape (B, 1).

    A picture with detail at every scale: flat far from the set, and frayed near it.

    Arguments:
        points: shape (B, 2), from −1 to 1.
        steps: after which a point counts as one of the set.
    """
    z = torch.complex(1.5 * points[:, 0], 1.5 * points[:, 1])
    late = torch.full(z.shape, float(steps), device=points.device)
    is_inside = torch.ones_like(late, dtype=torch.bool)
    for step in range(steps):
        z = torch.where(is_inside, z * z + complex(-0.8, 0.156), z)
        leaves = is_inside & (z.abs() > 16)
        # the fraction of a step, from how far out it is: without it there are bands
        late = torch.where(leaves, step + 2 - z.abs().log2().log2(), late)
        is_inside &= ~leaves
    return (late.clamp(0, steps) / steps).sqrt()[:, None]
