"""A detector that returns a set of boxes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SetDetector(nn.Module):
    """Convolutions, and queries that look for an object each, as in DETR.

    Source: Carion et al., "End-to-End Object Detection with Transformers", arXiv:2005.12872; with
    places spread over the image from which queries start, as in Wang et al., "Anchor DETR",
    arXiv:2109.07107.

    Arguments:
        channels: of the images.
        num_classes: the number of classes; one more says that there is no object.
        grid: queries along each side.
        width: channels.
        depth: layers of the transformer.
    """

    def __init__(
        self, channels: int, num_classes: int, grid: int = 7, width: int = 48, depth: int = 2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for after in (width // 3, 2 * width // 3, width, width):
            layers += [
                nn.Conv2d(before, after, 3, 2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            before = after
        self.eyes = nn.Sequential(*layers)
        steps = (torch.arange(grid) + 0.5) / grid
        anchors = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).flatten(0, 1)
        self.anchors: Tensor
        self.register_buffer("anchors", anchors)  # (queries, 2)
        self.position = nn.Linear(2, width)
        layer = nn.TransformerDecoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, depth)
        self.norm = nn.LayerNorm(width)
        self.kinds = nn.Linear(width, num_classes + 1)
        self.boxes = nn.Linear(width, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each query has found in images, (B, C, H, W).

        Returns:
            Logits of classes, (B, queries, classes + 1), the last of them for none, and boxes:
            centre, width and height as shares of the image, (B, queries, 4).
        """
        seen = self.eyes(images)
        height, width = seen.shape[2:]
        rows = (torch.arange(height, device=seen.device) + 0.5) / height
        columns = (torch.arange(width, device=seen.device) + 0.5) / width
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1)
        memory = seen.flatten(2).mT + self.position(grid)
        queries = self.position(self.anchors).expand(len(images), -1, -1)
        found = self.norm(self.layers(queries, memory))
        raw = self.boxes(found)
        anchors = torch.logit(self.anchors, eps=1e-3)
        centre = torch.sigmoid(raw[..., :2] + anchors)
        return self.kinds(found), torch.cat([centre, torch.sigmoid(raw[..., 2:] - 1.5)], dim=-1)
