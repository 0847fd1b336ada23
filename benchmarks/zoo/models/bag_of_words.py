"""A text as the set of its words."""

from __future__ import annotations

from torch import Tensor, nn


class BagOfWords(nn.Module):
    """The mean of a text's word vectors, with two layers; or, regularized, dropout and one."""

    def __init__(
        self,
        num_words: int,
        width: int = 32,
        num_classes: int = 2,
        *,
        is_regularised: bool = False,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(num_words, width, padding_idx=0)
        if is_regularised:
            self.layers = nn.Sequential(nn.Dropout(0.5), nn.Linear(width, num_classes))
        else:
            self.layers = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, num_classes))

    def forward(self, texts: Tensor) -> Tensor:
        count = (texts > 0).sum(1, keepdim=True).clamp(min=1)
        logits: Tensor = self.layers(self.words(texts).sum(1) / count.sqrt())
        return logits
