"""Small image sets in the layouts that users have them in."""

from __future__ import annotations

import zipfile
from pathlib import Path

from PIL import Image


def write_tree(folder: Path, per_class: int = 2) -> Path:
    """Write an image-folder tree of two classes of plain-coloured images."""
    for split in ("train", "test"):
        for label, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
            (folder / split / label).mkdir(parents=True)
            for i in range(per_class):
                image = Image.new("RGB", (32, 32), colour)
                image.save(folder / split / label / f"{i:04}.png")
    (folder / "train" / "readme.txt").write_text("not an image")
    return folder


def write_zip(folder: Path, top: str = "") -> Path:
    tree = write_tree(folder / "tree")
    path = folder / "cifar10-images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(tree.rglob("*.png")):
            archive.write(file, top + str(file.relative_to(tree)))
    return path
