"""A perceptron."""

from __future__ import annotations

from torch import nn


def mlp(inputs: int, outputs: int, width: int = 128, depth: int = 2) -> nn.Sequential:
    """Return linear layers with ReLU between them: (B, inputs) to (B, outputs)."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
