"""Texts with two labels each: the true one, and one made by rules."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from zoo.datasets.files import find_file
from zoo.datasets.vocabulary import numbered


@dataclass(frozen=True)
class RuleLabelled:
    """Texts as the numbers of their words.

    Attributes:
        train: int64, shape (N, words), 0 where a text has ended.
        labels: their true classes, int64, shape (N,).
        by_rules: the classes by rules, int64, shape (N,).
        test: likewise, shape (M, words): the parts `dev` and `test`.
        test_labels: their true classes, int64, shape (M,).
        num_words: how many numbers there are.
    """

    train: Tensor
    labels: Tensor
    by_rules: Tensor
    test: Tensor
    test_labels: Tensor
    num_words: int


@cache
def load_rule_labelled(root: Path | None, name: str, max_words: int = 64) -> RuleLabelled:
    """Read `weak-labels/<name>/{train,dev,test}.json`, lists of `text`, `label` and `major`.

    Arguments:
        root: the folder that holds the folder `weak-labels`, or that itself.
        name: `trec` (questions) or `chemprot` (sentences on chemicals and proteins).
        max_words: how many words of a text are read.

    Raises:
        ValueError, FileNotFoundError: see `find_file`.
    """
    folder = find_file(root, "texts with labels by rules", "weak-labels") / name
    train, *tests = (
        json.loads((folder / f"{part}.json").read_text("utf-8"))
        for part in ("train", "dev", "test")
    )
    test = [each for part in tests for each in part]
    (inputs, test_inputs), num_words = numbered(
        [[each["text"] for each in part] for part in (train, test)], max_words
    )
    return RuleLabelled(
        inputs,
        torch.tensor([each["label"] for each in train]),
        torch.tensor([each["major"] for each in train]),
        test_inputs,
        torch.tensor([each["label"] for each in test]),
        num_words,
    )
