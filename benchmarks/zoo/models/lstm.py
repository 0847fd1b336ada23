"""LSTMs that read a sequence and say something of it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class SentenceLSTM(nn.Module):
    """Reads words in both directions, and goes by the largest of what it has found.

    Arguments:
        num_words: how many words there are; 0 is none.
        num_classes: the number of classes.
        width: of word vectors and, in each direction, of the state.
    """

    def __init__(self, num_words: int, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.words = nn.Embedding(num_words, width, padding_idx=0)
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * width, num_classes))

    def forward(self, sentences: Tensor) -> Tensor:
        """Return logits, (B, classes), of sentences, int64, (B, words)."""
        states, _ = self.lstm(self.words(sentences))
        states = states.masked_fill((sentences == 0)[:, :, None], -torch.inf)
        found = states.amax(1)
        return cast("Tensor", self.head(found.masked_fill(found == -torch.inf, 0)))


class ForecastLSTM(nn.Module):
    """Reads the past, and tells the future at once, as differences to the last value.

    Arguments:
        channels: of the past.
        future: how many values it tells.
        width: of the state.
    """

    def __init__(self, channels: int, future: int, width: int = 48) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, width, batch_first=True)
        self.head = nn.Linear(width, future)

    def forward(self, past: Tensor) -> Tensor:
        """Return the future, (B, future), after a past, (B, moments, channels)."""
        states, _ = self.lstm(past)
        return cast("Tensor", past[:, -1, :1] + self.head(states[:, -1]))
