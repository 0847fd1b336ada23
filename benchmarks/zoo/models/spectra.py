"""Convolutions over the time of a spectrogram."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class Spectra(nn.Module):
    """Two convolutions, and the mean over time of what they find.

    Arguments:
        bands: of the spectrogram.
        num_classes: the number of classes.
        width: channels.
    """

    def __init__(self, bands: int, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(bands, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(width, num_classes),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits, (B, classes), of pictures of loudness, uint8, (B, bands, moments)."""
        return cast("Tensor", self.layers(pictures.float() / 127.5 - 1))
