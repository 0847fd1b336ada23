"""CamVid: frames of drives through Cambridge, and what each pixel shows."""

from __future__ import annotations

import io
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from dynaprune.utils.optional_imports import require
from zoo.datasets.files import Files, find_files

CLASSES = 11
VOID = 11
"""The class of pixels that are of none, to be ignored."""


def load_scenes(root: Path | None, size: tuple[int, int]) -> tuple[TensorDataset, TensorDataset]:
    """Read `train`, `trainannot`, `test` and `testannot`: a training and a test set.

    Each sample is an image, uint8, shape (3, height, width), and the class of each pixel, uint8,
    shape (height, width).

    Arguments:
        root: the folder that holds `camvid-240x180.zip`, or such a folder or zip file.
        size: width and height that images are scaled to; labels are scaled by nearest neighbours.

    Raises:
        ValueError, FileNotFoundError: see `find_files`.
        ImportError: Pillow is not installed.
    """
    files = find_files(root, "CamVid", "trainannot", "camvid-240x180.zip")
    return _split(files, "train", size), _split(files, "test", size)


def _split(files: Files, split: str, size: tuple[int, int]) -> TensorDataset:
    image_module = require("PIL.Image", "bench")

    def read(name: str, mode: str, resample: int) -> Tensor:
        with image_module.open(io.BytesIO(files.read(name))) as image:
            return torch.from_numpy(np.array(image.convert(mode).resize(size, resample)))

    masks = {PurePath(n).stem: n for n in files.names if PurePath(n).parent.name == f"{split}annot"}
    images = {PurePath(n).stem: n for n in files.names if PurePath(n).parent.name == split}
    both = sorted(images.keys() & masks.keys())
    if not both:
        raise FileNotFoundError(f"no images with masks in {files.place}, folder {split}")
    smooth, nearest = image_module.Resampling.BILINEAR, image_module.Resampling.NEAREST
    pixels = torch.stack([read(images[stem], "RGB", smooth) for stem in both]).permute(0, 3, 1, 2)
    return TensorDataset(
        pixels.contiguous(), torch.stack([read(masks[stem], "L", nearest) for stem in both])
    )
