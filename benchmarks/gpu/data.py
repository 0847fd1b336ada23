"""CIFAR-10 on a device: images as they are augmented from, and labels, right and wrong ones."""

from __future__ import annotations

import io
import lzma
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pack import IMAGES, LABELS, NOISY
from PIL import Image
from torch import Tensor

MARGIN = 4
"""Pixels by which training images are padded for random crops, by reflection."""

GROUP = 1000
"""Images that a process decodes at a time."""


@dataclass(frozen=True)
class Data:
    """Images with their channels last, normalised, in the type in which a model reads them.

    Attributes:
        train: shape (N, 32 + 2·MARGIN, 32 + 2·MARGIN, 3): padded.
        labels: int64, shape (N,): the right ones.
        noisy: by name, labels with some wrong ones: int64, shape (N,).
        test: shape (M, 32, 32, 3).
        test_labels: int64, shape (M,).
    """

    train: Tensor
    labels: Tensor
    noisy: dict[str, Tensor]
    test: Tensor
    test_labels: Tensor


@cache  # for all stages
def load(folder: Path, device: torch.device, dtype: torch.dtype) -> Data:
    """Read what pack.py has written."""
    if not (folder / IMAGES).exists():
        raise SystemExit(f"{folder} has no data: run benchmarks/gpu/pack.py --root DATA first")
    with np.load(folder / LABELS) as labels:
        read = {name: labels[name].astype(np.int64) for name in labels.files}
    images = unpacked((folder / IMAGES).read_bytes(), read["sizes"])
    return on_device(images, read, device, dtype)


def unpacked(packed: bytes, sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the images that were packed: shape (N + M, 32, 32, 3)."""
    content = lzma.decompress(packed)
    ends = np.cumsum(sizes)
    parts = [content[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    # processes, because threads wait for the interpreter's lock: images are small
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        groups = [parts[start : start + GROUP] for start in range(0, len(parts), GROUP)]
        return np.concatenate(list(pool.map(_decoded, groups)))


def _decoded(contents: list[bytes]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(io.BytesIO(each)).convert("RGB")) for each in contents])


def toy(device: torch.device, dtype: torch.dtype, samples: int = 192) -> Data:
    """Return images that show their class by a bright square, so that little is to be learned."""
    draw = np.random.default_rng(0)
    labels = draw.integers(10, size=2 * samples)
    images = draw.integers(64, size=(2 * samples, 32, 32, 3), dtype=np.uint8)
    for place, label in enumerate(labels):
        row, column = divmod(int(label), 4)
        images[place, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 150
    read = {"train": labels[:samples], "test": labels[samples:]}
    for share, name in zip((0.4, 0.2, 0.1), NOISY, strict=True):
        is_wrong = draw.random(samples) < share
        read[name] = np.where(is_wrong, (read["train"] + 1) % 10, read["train"])
    return on_device(images, read, device, dtype)


def on_device(
    images: NDArray[np.uint8],
    labels: dict[str, NDArray[np.int64]],
    device: torch.device,
    dtype: torch.dtype,
) -> Data:
    """Return images, shape (N + M, 32, 32, 3), and labels on a device."""
    count = len(labels["train"])
    pixels = torch.from_numpy(images).to(device).float() / 255
    mean, deviation = pixels[:count].mean((0, 1, 2)), pixels[:count].std((0, 1, 2))
    pixels = (pixels - mean) / deviation
    edges = (MARGIN,) * 4
    padded = torch.nn.functional.pad(pixels[:count].permute(0, 3, 1, 2), edges, "reflect")
    placed = {name: torch.from_numpy(each).to(device) for name, each in labels.items()}
    return Data(
        padded.permute(0, 2, 3, 1).contiguous().to(dtype),
        placed["train"],
        {name: placed[name] for name in NOISY},
        pixels[count:].to(dtype),
        placed["test"],
    )


def augmented(padded: Tensor, indices: Tensor) -> Tensor:
    """Return random crops, half of them mirrored, of images of padded ones: (B, 3, 32, 32).

    One gather, without a wait; the result has its channels last in memory.

    Arguments:
        padded: shape (N, S, S, 3), S = 32 + 2·MARGIN.
        indices: which ones, int64 of shape (B,).
    """
    count, device = len(indices), padded.device
    size = padded.shape[1] - 2 * MARGIN
    span = torch.arange(size, device=device)
    offsets = torch.randint(2 * MARGIN + 1, (2, count, 1), device=device)
    is_mirrored = torch.rand(count, 1, device=device) < 0.5
    rows = offsets[0] + span
    columns = offsets[1] + torch.where(is_mirrored, size - 1 - span, span)
    found = padded[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)
