"""From a picture to words."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class Captioner(nn.Module):
    """Convolutions that see, and a transformer that says what, word by word.

    Arguments:
        channels: of the images.
        words: how many words there are.
        longest: how many a caption has at most.
        width: channels.
        depth: layers of the transformer.
    """

    def __init__(
        self, channels: int, words: int, longest: int, width: int = 48, depth: int = 2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for after in (width // 3, 2 * width // 3, width):
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            before = after
        self.eyes = nn.Sequential(*layers)
        self.places = nn.Parameter(torch.zeros(1, 256, width))
        self.words = nn.Embedding(words, width)
        self.order = nn.Parameter(torch.zeros(1, longest, width))
        layer = nn.TransformerDecoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, depth)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, words))

    def see(self, images: Tensor) -> Tensor:
        """Return what is seen at each place, (B, places, width), of images, (B, C, H, W)."""
        seen = self.eyes(images).flatten(2).mT
        return cast("Tensor", seen + self.places[:, : seen.shape[1]])

    def say(self, seen: Tensor, said: Tensor) -> Tensor:
        """Return logits of each next word, (B, L, words), after what was said, int64, (B, L)."""
        length = said.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=said.device)
        words = self.words(said) + self.order[:, :length]
        found = self.layers(words, seen, tgt_mask=mask, tgt_is_causal=True)
        return cast("Tensor", self.head(found))

    def forward(self, images: Tensor, said: Tensor) -> Tensor:
        """Return logits of each next word, (B, L, words)."""
        return self.say(self.see(images), said)
