"""Strips of handwritten digits, said in words: from an image to a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy
from torch.utils.data import TensorDataset

from dynaprune.bench import Recipe, Task
from dynaprune.bench.tasks.image_sets import load_images
from zoo.models.captioner import Captioner

DIGITS = 3
START, END, PLUS = 10, 11, 12
WORDS = 13
LENGTH = 2 * DIGITS + 1
"""Words of the longest text and its end: digits with a plus between them."""


class StripsCaptioner(Task):
    """1,500 strips of one to three digits of MNIST; the text is "four plus two", say."""

    name = "strips-captioner"
    kind = "image captioning"
    dataset = "mnist5k-strips"
    model = "CNN and transformer decoder"
    metric = "exact match"
    margin = 0.01
    in_percent = True
    recipe = Recipe(
        epochs=10,
        batch_size=32,
        learning_rate=2e-3,
        optimizer="adamw",
        weight_decay=0.01,
        clip=1.0,
        threads=1,
    )
    full_recipe = recipe.with_length(epochs=160, learning_rate=0.004)

    test: TensorDataset

    def load(self, root: Path | None) -> None:
        """Put digits of MNIST into strips; those of the test are none of the training's."""
        digits = load_images("mnist5k")
        self.train = strips(digits.train.tensors[0], digits.train.tensors[1], 1500, seed=0)
        self.test = strips(digits.test_images, digits.test_labels, 1000, seed=1)

    def make_model(self) -> nn.Module:
        """Return convolutions and two layers of a transformer."""
        return Captioner(1, WORDS, LENGTH)

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return logits of each next word: (B, words, kinds)."""
        images, text = batch
        start = torch.full_like(text[:, :1], START)
        return model(images.float() / 127.5 - 1, torch.cat([start, text[:, :-1]], dim=1))

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean over strips of the mean cross-entropy of their words."""
        return self.losses(outputs, batch).mean()

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean cross-entropy over the words of each strip, its end included: (B,)."""
        text = batch[1]
        each = cross_entropy(outputs.mT, text, reduction="none")
        is_said = (text == END).cumsum(1) - (text == END).long() == 0
        found: Tensor = (each * is_said).sum(1) / is_said.sum(1)
        return found

    def evaluate(self, model: nn.Module) -> float:
        """Return the share of the test strips whose text is right, said word after word."""
        right = 0
        for images, text in torch.utils.data.DataLoader(self.test, batch_size=250):
            truth = text.to(self.device)
            seen = model.see(images.to(self.device).float() / 127.5 - 1)  # type: ignore[operator]
            said = torch.full_like(truth[:, :1], START)
            for _ in range(LENGTH):
                following = model.say(seen, said)[:, -1].argmax(-1)  # type: ignore[operator]
                said = torch.cat([said, following[:, None]], dim=1)
            is_said = (truth == END).cumsum(1) - (truth == END).long() == 0
            right += int(((said[:, 1:] == truth) | ~is_said).all(1).sum())
        return right / len(self.test)


def strips(images: Tensor, labels: Tensor, count: int, seed: int) -> TensorDataset:
    """Return strips of digits, uint8, (count, 1, 14, 42), and their texts, int64, (count, words).

    A text is digits, with a plus between them, and an end; what is behind that is the end too.
    """
    generator = torch.Generator().manual_seed(seed)
    small = avg_pool2d(images.float(), 2)
    shown = torch.zeros(count, 1, 14, 14 * DIGITS)
    texts = torch.full((count, LENGTH), END)
    for row in range(count):
        length = int(torch.randint(1, DIGITS + 1, (), generator=generator))
        chosen = torch.randint(0, len(labels), (length,), generator=generator)
        for place, sample in enumerate(chosen.tolist()):
            shown[row, :, :, 14 * place : 14 * (place + 1)] = small[sample]
            texts[row, 2 * place] = labels[sample]
            if place > 0:
                texts[row, 2 * place - 1] = PLUS
    return TensorDataset(shown.to(torch.uint8), texts)
