"""BCCD: blood cells under a microscope, and the box of each."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from dynaprune.utils.optional_imports import require
from zoo.datasets.files import Files, find_files

SIDES = ("xmin", "ymin", "xmax", "ymax")
NAMES = ("RBC", "WBC", "Platelets")


@dataclass(frozen=True)
class Cells:
    """Images and their boxes.

    Attributes:
        images: uint8, shape (N, 3, height, width).
        boxes: of each image, (left, top, right, bottom) as shares of width and height: float32,
            shape (boxes, 4).
        labels: of each image, numbers of `NAMES`: int64, shape (boxes,).
    """

    images: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]


def load_cells(root: Path | None, size: tuple[int, int]) -> tuple[Cells, Cells]:
    """Read a Pascal VOC folder, and return its `trainval` and `test` parts.

    Arguments:
        root: the folder that holds `bccd.zip`, or such a folder or zip file.
        size: width and height that images are scaled to.

    Raises:
        ValueError, FileNotFoundError: see `find_files`.
        ImportError: Pillow is not installed.
    """
    files = find_files(root, "BCCD", "BCCD", "bccd.zip")
    return _part(files, "trainval", size), _part(files, "test", size)


def _part(files: Files, part: str, size: tuple[int, int]) -> Cells:
    image_module = require("PIL.Image", "bench")
    images, boxes, labels = [], [], []
    stems = files.read(f"BCCD/ImageSets/Main/{part}.txt").decode().split()
    for stem in stems:
        with image_module.open(io.BytesIO(files.read(f"BCCD/JPEGImages/{stem}.jpg"))) as image:
            width, height = image.size
            pixels = np.array(image.convert("RGB").resize(size, image_module.Resampling.BILINEAR))
        images.append(torch.from_numpy(pixels))
        found = ElementTree.fromstring(files.read(f"BCCD/Annotations/{stem}.xml")).findall("object")
        corners = [
            [float(str(cell.findtext(f"bndbox/{side}"))) for side in SIDES] for cell in found
        ]
        scale = torch.tensor([width, height, width, height])
        boxes.append(torch.tensor(corners).reshape(-1, 4) / scale)
        labels.append(torch.tensor([NAMES.index(str(cell.findtext("name"))) for cell in found]))
    return Cells(torch.stack(images).permute(0, 3, 1, 2).contiguous(), boxes, labels)
