"""A variational autoencoder of small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.models.mlp import mlp


class VAE(nn.Module):
    """Tells an image by a few numbers, and the image by these.

    Source: Kingma & Welling, "Auto-Encoding Variational Bayes", arXiv:1312.6114.

    Arguments:
        pixels: of an image.
        latent: how many numbers.
        width: of the layers.
    """

    def __init__(self, pixels: int, latent: int = 16, width: int = 256) -> None:
        super().__init__()
        self.encoder = mlp(pixels, 2 * latent, width)
        self.decoder = mlp(latent, pixels, width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of pixels, (B, pixels), and mean and log-variance, (B, latent) each.

        In training the numbers are drawn, in evaluation they are the mean.
        """
        mean, log_variance = self.encoder(images.flatten(1)).chunk(2, dim=1)
        drawn = mean
        if self.training:
            drawn = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        return self.decoder(drawn), mean, log_variance
