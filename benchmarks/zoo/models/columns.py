"""A transformer over the columns of a table."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class ColumnTransformer(nn.Module):
    """Each column is a token, and one more gathers what they say.

    Source: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data",
    arXiv:2106.11959 (FT-Transformer).

    Arguments:
        columns: how many a row has.
        outputs: how many numbers are told.
        width: channels of a token.
        depth: how many layers.
    """

    def __init__(self, columns: int, outputs: int, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(columns, width) / width**0.5)
        self.shift = nn.Parameter(torch.randn(columns, width) / width**0.5)
        self.gather = nn.Parameter(torch.zeros(1, 1, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

    def forward(self, rows: Tensor) -> Tensor:
        """Return (B, outputs) of rows, (B, columns)."""
        tokens = rows[:, :, None] * self.scale + self.shift
        tokens = torch.cat([self.gather.expand(len(rows), -1, -1), tokens], dim=1)
        return cast("Tensor", self.head(self.layers(tokens)[:, 0]))
