"""Rendered words: printed in several fonts, sizes and angles, on noise."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynaprune.utils.optional_imports import require

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LONGEST = 5
WIDTH, HEIGHT = 64, 16
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Bold")


@dataclass(frozen=True)
class Words:
    """Pictures of words.

    Attributes:
        images: uint8, shape (N, 1, 16, 64).
        letters: their letters, 1 for a to 26 for z, 0 behind the end: int64, shape (N, 5).
        lengths: how many letters they have: int64, shape (N,).
    """

    images: Tensor
    letters: Tensor
    lengths: Tensor


def render_words(count: int, seed: int) -> Words:
    """Draw words of three to five letters.

    Their letters are drawn by how often they follow each other in the names of Python's own
    modules and keywords, so that they look like words, and none is in a list that a model could
    memorize. Fonts are those of matplotlib.

    Raises:
        ImportError: Pillow or matplotlib is not installed.
    """
    drawing = require("PIL.ImageDraw", "bench")
    fonts = require("PIL.ImageFont", "bench")
    image_module = require("PIL.Image", "bench")
    folder = Path(require("matplotlib", "bench").get_data_path()) / "fonts" / "ttf"
    random = np.random.default_rng(seed)
    faces = [fonts.truetype(str(folder / f"{f}.ttf"), size) for f in FONTS for size in (11, 12)]
    follows = _bigrams()
    images = np.zeros((count, HEIGHT, WIDTH), dtype=np.uint8)
    letters = torch.zeros(count, LONGEST, dtype=torch.int64)
    lengths = torch.zeros(count, dtype=torch.int64)
    for row in range(count):
        word = [int(random.integers(len(LETTERS)))]
        for _ in range(int(random.integers(2, LONGEST))):
            word.append(int(random.choice(len(LETTERS), p=follows[word[-1]])))
        text = "".join(LETTERS[letter] for letter in word)
        paper, ink = int(random.integers(150, 256)), int(random.integers(0, 100))
        picture = image_module.new("L", (WIDTH, HEIGHT), paper)
        where = (int(random.integers(1, 6)), int(random.integers(0, 3)))
        drawing.Draw(picture).text(where, text, ink, font=faces[int(random.integers(len(faces)))])
        turned = picture.rotate(float(random.uniform(-2, 2)), fillcolor=paper)
        noisy = np.asarray(turned) + random.normal(0, random.uniform(0, 25), (HEIGHT, WIDTH))
        images[row] = noisy.clip(0, 255).astype(np.uint8)
        letters[row, : len(word)] = torch.tensor(word) + 1
        lengths[row] = len(word)
    return Words(torch.from_numpy(images)[:, None], letters, lengths)


def _bigrams() -> NDArray[np.float64]:
    """Return the probability of each letter after each other one: shape (26, 26)."""
    import keyword
    import sys

    counts = np.ones((len(LETTERS), len(LETTERS)))
    for name in {*sys.stdlib_module_names, *keyword.kwlist}:
        known = [LETTERS.find(letter) for letter in name.lower()]
        for before, after in pairwise(known):
            if before >= 0 and after >= 0:
                counts[before, after] += 10
    shares: NDArray[np.float64] = counts / counts.sum(1, keepdims=True)
    return shares
