"""Architectures of Hugging Face's transformers, with random weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dynaprune.utils.optional_imports import require


class Logits(nn.Module):
    """A model of transformers that is called with one tensor and returns its logits.

    Arguments:
        model: whose output has `logits`.
        name: of the argument that it takes.
    """

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model = model
        self.name = name

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of inputs."""
        found: Tensor = self.model(**{self.name: inputs}).logits
        return found


def image_classifier(architecture: str, **config: Any) -> nn.Module:
    """Return an image classifier, such as `ViT`, with these settings of its config.

    Raises:
        ImportError: transformers is not installed.
    """
    library = require("transformers", "bench")
    model = getattr(library, f"{architecture}ForImageClassification")
    return Logits(model(getattr(library, f"{architecture}Config")(**config)), "pixel_values")
