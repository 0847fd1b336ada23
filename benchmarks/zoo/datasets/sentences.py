"""SST-2: sentences of film reviews, favourable or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zoo.datasets.files import find_file
from zoo.datasets.vocabulary import numbered


@dataclass(frozen=True)
class Sentences:
    """Sentences as the numbers of their words.

    Attributes:
        train: int64, shape (N, words), 0 where a sentence has ended.
        train_labels: 1 where it is favourable, int64, shape (N,).
        test: likewise, shape (M, words).
        test_labels: likewise, shape (M,).
        num_words: how many numbers there are.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    num_words: int


def load_sentences(root: Path | None, max_words: int = 32) -> Sentences:
    """Read `sst2/train.tsv` and `sst2/test.tsv`: a sentence, a tab and its label a line.

    In GLUE's layout there is a header, and `dev.tsv` is the test, as its `test.tsv` has no labels.

    Words that the training set has once only are all the same one.

    Arguments:
        root: the folder that holds the folder `sst2`, or that itself.
        max_words: how many words of a sentence are read.

    Raises:
        ValueError, FileNotFoundError: see `find_file`; or a line is not as it should be.
    """
    folder = find_file(root, "SST-2", "sst2", "SST-2")
    is_glue = _has_header(folder / "train.tsv")
    parts = {
        split: _pairs(folder / f"{name}.tsv", is_glue)
        for split, name in (("train", "train"), ("test", "dev" if is_glue else "test"))
    }
    (train, test), num_words = numbered(
        [[text for text, _ in pairs] for pairs in parts.values()], max_words
    )
    labels = (torch.tensor([int(label) for _, label in pairs]) for pairs in parts.values())
    return Sentences(train, next(labels), test, next(labels), num_words)


def _has_header(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return file.readline().split("\t")[-1].strip() == "label"


def _pairs(path: Path, has_header: bool) -> list[list[str]]:
    """Return the sentences of a file, each with its label."""
    pairs = [line.rsplit("\t", 1) for line in path.read_text("utf-8").splitlines()[has_header:]]
    for number, pair in enumerate(pairs, start=1 + has_header):
        if len(pair) != 2 or pair[1] not in ("0", "1"):
            raise ValueError(
                f"line {number} of {path} must be a sentence, a tab and 0 or 1, but it ends in "
                f"{pair[-1][-40:]!r}"
            )
    return pairs
