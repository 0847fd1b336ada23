"""Texts as numbers of words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

PADDING, UNKNOWN = 0, 1


def numbered(parts: Sequence[Sequence[str]], max_words: int) -> tuple[list[Tensor], int]:
    """Return the texts of each part as numbers of their words, and how many numbers there are.

    Words that the first part, the training set, has once only are all the same one.

    Arguments:
        parts: the texts of the training set, and of other parts.
        max_words: how many words of a text are read.

    Returns:
        For each part int64, shape (texts, max_words), 0 where a text has ended.
    """
    split_words = re.compile(r"\w+|[^\w\s]").findall
    counts = Counter(word for text in parts[0] for word in split_words(text.lower()))
    known = [word for word, count in counts.most_common() if count > 1]
    numbers = {word: number for number, word in enumerate(known, start=UNKNOWN + 1)}

    def encode(texts: Sequence[str]) -> Tensor:
        encoded = torch.full((len(texts), max_words), PADDING)
        for row, text in enumerate(texts):
            words = [numbers.get(word, UNKNOWN) for word in split_words(text.lower())][:max_words]
            encoded[row, : len(words)] = torch.tensor(words, dtype=torch.int64)
        return encoded

    return [encode(texts) for texts in parts], len(known) + UNKNOWN + 1
