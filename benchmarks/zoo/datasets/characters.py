"""Tiny Shakespeare: a megabyte of plays, character by character."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from zoo.datasets.files import find_file


def load_characters(root: Path | None) -> tuple[Tensor, int]:
    """Read `tinyshakespeare.txt`.

    Returns:
        The characters as numbers, int64, shape (characters,), and how many numbers there are.

    Raises:
        ValueError, FileNotFoundError: see `find_file`.
    """
    path = find_file(root, "Tiny Shakespeare", "tinyshakespeare.txt", "input.txt")
    text = path.read_text("utf-8")
    letters = {letter: number for number, letter in enumerate(sorted(set(text)))}
    return torch.tensor([letters[letter] for letter in text]), len(letters)
