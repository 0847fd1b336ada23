"""The networks of fits.py: of coordinates, and with their derivatives."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

WIDTH = 64


class Waves(nn.Module):
    """Maps coordinates to sines and cosines of fixed random frequencies.

    Source: Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in Low
    Dimensional Domains", arXiv:2006.10739.

    Arguments:
        dimensions: d, of the coordinates.
        scale: the standard deviation of the frequencies.
        count: how many of them; there are twice as many outputs.
    """

    def __init__(self, dimensions: int, scale: float, count: int = WIDTH) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.randn(dimensions, count) * scale * math.tau)

    def forward(self, points: Tensor) -> Tensor:
        phases = points @ self.frequencies
        return torch.cat([phases.sin(), phases.cos()], dim=1)


def wave_network(dimensions: int, outputs: int, scale: float, width: int = WIDTH) -> nn.Sequential:
    """Return a coordinate network, from (B, d) to (B, outputs)."""
    waves = Waves(dimensions, scale, width)
    return nn.Sequential(waves, *relu_layers(2 * width, outputs, width))


def relu_layers(inputs: int, outputs: int, width: int = WIDTH) -> list[nn.Module]:
    return [
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, outputs),
    ]


def tanh_network(inputs: int, hidden: int = 3, width: int = WIDTH) -> nn.Sequential:
    """Return a smooth network, from (B, inputs) to (B, 1)."""
    sizes = [inputs, *[width] * hidden]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Tanh()]
        nn.init.xavier_uniform_(layers[-2].weight)
    return nn.Sequential(*layers, nn.Linear(width, 1))


def with_derivatives(network: nn.Sequential, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return values, first and second derivatives along each axis: shapes (B,), (d, B), (d, B).

    They are carried from layer to layer, which takes less time than to differentiate twice.

    Arguments:
        network: a `tanh_network`.
        points: shape (B, d).
    """
    dimensions = points.shape[1]
    value, first = points, torch.eye(dimensions)[:, None, :].expand(-1, len(points), -1)
    second = torch.zeros_like(first)
    for layer in network:
        if isinstance(layer, nn.Linear):
            value, first, second = layer(value), first @ layer.weight.T, second @ layer.weight.T
        else:
            value = value.tanh()
            slope = 1 - value.square()
            first, second = slope * first, slope * (second - 2 * value * first.square())
    return value.squeeze(1), first.squeeze(2), second.squeeze(2)
