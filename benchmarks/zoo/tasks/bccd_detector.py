"""BCCD blood cells, with a small detector: the loss is DETR's, of a set, in several parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from dynaprune.bench import Recipe, Task
from zoo.boxes import average_precision, centres_of, corners_of, set_loss
from zoo.datasets.cells import NAMES, Cells, load_cells
from zoo.models.detector import SetDetector

NONE = -1
"""The class of what fills up the boxes of an image to as many as any other has."""


class BCCDDetector(Task):
    """292 images of 128 × 96 pixels, with thirteen cells on average."""

    name = "bccd-detector"
    kind = "object detection"
    dataset = "bccd"
    model = "CNN, set loss"
    metric = "AP50"
    margin = 0.01
    in_percent = True
    recipe = Recipe(
        epochs=15,
        batch_size=8,
        learning_rate=5e-3,
        optimizer="adamw",
        weight_decay=1e-4,
        clip=1.0,
        threads=1,
    )
    full_recipe = recipe.with_length(epochs=60, learning_rate=0.01)

    test: Cells

    def load(self, root: Path | None) -> None:
        """Read the images and their boxes."""
        cells, self.test = load_cells(root, (128, 96))
        most = max(len(labels) for labels in cells.labels)
        boxes = torch.zeros(len(cells.labels), most, 4)
        labels = torch.full((len(cells.labels), most), NONE)
        for row, (corners, kinds) in enumerate(zip(cells.boxes, cells.labels, strict=True)):
            boxes[row, : len(kinds)] = centres_of(corners)
            labels[row, : len(kinds)] = kinds
        self.train = TensorDataset(cells.images, boxes, labels)

    def make_model(self) -> nn.Module:
        """Return a detector with 48 places."""
        return SetDetector(3, len(NAMES))

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return logits of classes and boxes of each place."""
        return model(batch[0].float() / 127.5 - 1)

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Return the mean over images of the loss of their sets."""
        return self.losses(outputs, batch).mean()

    def losses(self, outputs: Any, batch: Any) -> Tensor:
        """Return the loss of each image's set of boxes: (B,)."""
        return torch.stack(
            [
                set_loss(logits, found, labels[labels != NONE], boxes[labels != NONE])
                for logits, found, boxes, labels in zip(*outputs, *batch[1:], strict=True)
            ]
        )

    def evaluate(self, model: nn.Module) -> float:
        """Return the average precision at an overlap of a half, the mean of three classes."""
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for images in torch.split(self.test.images, 36):
            logits, boxes = self.outputs(model, (images.to(self.device),))
            scores, kinds = logits.softmax(-1)[..., :-1].max(-1)
            found += zip(corners_of(boxes).cpu(), scores.cpu(), kinds.cpu(), strict=True)
        return average_precision(found, list(zip(self.test.boxes, self.test.labels, strict=True)))
