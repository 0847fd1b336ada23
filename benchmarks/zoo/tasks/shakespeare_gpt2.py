"""Tiny Shakespeare, character by character, with a small GPT-2 from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from dynaprune.bench import Recipe, Task
from dynaprune.utils.optional_imports import require
from zoo.datasets.characters import load_characters

LENGTH = 64
TEST = 0.1
"""The last tenth of the text is for the test."""


class ShakespeareGPT2(Task):
    """Every tenth of the windows of 64 characters that the text is cut into."""

    name = "shakespeare-gpt2"
    kind = "language modelling"
    dataset = "tinyshakespeare"
    model = "GPT-2"
    metric = "nats a character"
    margin = 0.01
    higher_is_better = False
    recipe = Recipe(
        epochs=8,
        batch_size=32,
        learning_rate=3e-3,
        optimizer="adamw",
        weight_decay=0.1,
        clip=1.0,
        threads=1,
    )
    full_recipe = recipe.with_length(epochs=32, learning_rate=0.006)

    test: Tensor
    num_letters: int

    def load(self, root: Path | None) -> None:
        """Read the text and cut it into windows."""
        letters, self.num_letters = load_characters(root)
        border = round((1 - TEST) * len(letters))
        windows = [
            part[: len(part) // (LENGTH + 1) * (LENGTH + 1)].reshape(-1, LENGTH + 1)
            for part in (letters[:border], letters[border:])
        ]
        self.train = TensorDataset(windows[0][::10].contiguous())
        self.test = windows[1]

    def make_model(self) -> nn.Module:
        """Return two layers."""
        library = require("transformers", "bench")
        config = library.GPT2Config(
            vocab_size=self.num_letters,
            n_positions=LENGTH,
            n_embd=48,
            n_layer=2,
            n_head=4,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
        model: nn.Module = library.GPT2LMHeadModel(config)
        return model

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the logits of each next character: (B, 64, letters)."""
        return model(input_ids=batch[0][:, :-1], use_cache=False).logits

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean cross-entropy."""
        return cross_entropy(outputs.flatten(0, 1), batch[0][:, 1:].flatten())

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean cross-entropy of each window: (B,)."""
        return cross_entropy(outputs.mT, batch[0][:, 1:], reduction="none").mean(1)

    def evaluate(self, model: nn.Module) -> float:
        """Return the mean cross-entropy of the test text."""
        found = [
            self.losses(self.outputs(model, (part,)), (part,))
            for part in torch.split(self.test.to(self.device), 200)
        ]
        return float(torch.cat(found).mean())
