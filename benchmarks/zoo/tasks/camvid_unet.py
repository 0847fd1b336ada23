"""CamVid, with a small U-Net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from dynaprune.bench import Recipe, Task
from zoo.datasets.scenes import CLASSES, VOID, load_scenes
from zoo.models.unet import UNet


class CamVidUNet(Task):
    """367 frames of 64 × 48 pixels."""

    name = "camvid-unet"
    kind = "semantic segmentation"
    dataset = "camvid"
    model = "U-Net"
    metric = "mean IoU"
    margin = 0.01
    in_percent = True
    recipe = Recipe(
        epochs=10,
        batch_size=4,
        learning_rate=3e-3,
        optimizer="adamw",
        weight_decay=0.01,
        threads=1,
    )

    test: TensorDataset

    def load(self, root: Path | None) -> None:
        """Read the frames."""
        self.train, self.test = load_scenes(root, (64, 48))

    def make_model(self) -> nn.Module:
        """Return a network with 8 channels at full size."""
        return UNet(3, CLASSES, width=8)

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return logits of the class of each pixel: (B, classes, H, W)."""
        return model(batch[0].float() / 127.5 - 1)

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean over images of each one's mean cross-entropy."""
        return self.losses(outputs, batch).mean()

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean cross-entropy over the pixels of each image that have a class: (B,)."""
        masks = batch[1].long()
        each = cross_entropy(outputs, masks, ignore_index=VOID, reduction="none").flatten(1)
        found: Tensor = each.sum(1) / (masks != VOID).flatten(1).sum(1).clamp(min=1)
        return found

    def evaluate(self, model: nn.Module) -> float:
        """Return the mean over classes of intersection over union, of all test pixels together."""
        counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
        for batch in torch.utils.data.DataLoader(self.test, batch_size=50):
            images, masks = (part.to(self.device) for part in batch)
            found, truth = self.outputs(model, (images, masks)).argmax(1), masks.long()
            pairs = (truth * CLASSES + found)[truth != VOID].cpu()
            counts += torch.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
        hits = counts.diagonal()
        union = counts.sum(0) + counts.sum(1) - hits
        return float((hits[union > 0] / union[union > 0]).mean())
