"""A detector that returns a set of boxes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SetDetector(nn.Module):
    """Convolutions, each of whose last places looks for one object near it.

    Like DETR it returns a set without doubles, as each object is matched with one place in
    training. Where DETR's queries first have to learn where to look, and need hundreds of epochs
    for it, these places know.

    Source: Carion et al., "End-to-End Object Detection with Transformers", arXiv:2005.12872; Sun
    et al., "What Makes for End-to-End Object Detection?", arXiv:2012.05780.

    Arguments:
        channels: of the images.
        num_classes: the number of classes; one more says that there is no object.
        width: channels of the last layers.
    """

    def __init__(self, channels: int, num_classes: int, width: int = 48) -> None:
        super().__init__()
        self.num_kinds = num_classes + 1
        layers: list[nn.Module] = []
        before = channels
        for after, stride in ((width // 4, 2), (width // 2, 2), (width, 2), (width, 2), (width, 1)):
            layers += [
                nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, self.num_kinds + 4, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each place has found in images, (B, C, H, W).

        Returns:
            Logits of classes, (B, places, classes + 1), the last of them for none, and boxes:
            centre, width and height as shares of the image, (B, places, 4). There are H/16 · W/16
            places, and a centre is not further than one and a half of them from its own.
        """
        found = self.layers(images)
        height, width = found.shape[2:]
        rows = (torch.arange(height, device=found.device) + 0.5) / height
        columns = (torch.arange(width, device=found.device) + 0.5) / width
        places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1)
        kinds, shift, size = found.flatten(2).mT.split([self.num_kinds, 2, 2], dim=-1)
        spacing = torch.tensor([1 / width, 1 / height], device=found.device)
        centre = places + 1.5 * spacing * torch.tanh(shift)
        return kinds, torch.cat([centre, torch.sigmoid(size - 1.5)], dim=-1)
