"""Image classification on a named image set, or on a fixed part of it to save time."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ..kinds import Kinds
from .cifar10n import PEOPLE, labels_by_people
from .classification import Classification, some
from .image_sets import ImageData, load_images


class ImageClassification(Classification):
    """Images are uint8, shape (B, C, H, W); models get them as floats in [−1, 1].

    Attributes:
        samples: the number of training images, drawn once; `None` for all.
        coarse: for each class a coarser one, in which it is a kind; `None` if there are none.
        images: the loaded images.
    """

    kind: ClassVar[str] = "image classification"
    samples: ClassVar[int | None] = None
    coarse: ClassVar[tuple[int, ...] | None] = None

    images: ImageData

    def load(self, root: Path | None) -> None:
        """Read the image set named by `dataset`."""
        self.images = load_images(self.dataset, root)
        self.train = some(self.images.train, self.samples)
        self.test = TensorDataset(self.images.test_images, self.images.test_labels)
        if self.coarse is not None:
            self.kinds = Kinds(
                self.train.tensors[1], self.images.test_labels, torch.tensor(self.coarse)
            )
        if self.dataset == "cifar10" and root is not None:
            self.other_labels = {name: partial(self._by_people, name, root) for name in PEOPLE}

    def _by_people(self, name: str, root: Path) -> Tensor:
        everyone = labels_by_people(name, self.images.train.tensors[1], root)
        return some(TensorDataset(everyone), self.samples).tensors[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.tensors[0].shape[1:]
        return channels, height, width

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the logits of a batch of images."""
        pixels = batch[0].float() / 127.5 - 1
        return model(pixels.contiguous(memory_format=torch.channels_last))
