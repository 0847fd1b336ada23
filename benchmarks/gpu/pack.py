"""Packs CIFAR-10 and the human labels of CIFAR-10N for a machine without network.

    python benchmarks/gpu/pack.py --root DATA       # writes .gpu/

DATA holds `cifar10-images.zip`, a tree `train/<class>/0000.jpg`, `test/<class>/…`, and
`cifar10n/CIFAR-10_human.pt`. The JPEG files are joined and compressed as one: their headers, which
are all alike, then take nothing.
"""

from __future__ import annotations

import argparse
import io
import lzma
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dynaprune.bench.tasks.cifar10n import PEOPLE, TRUE, read_cifar10n

FOLDER = Path(__file__).parents[2] / ".gpu"
IMAGES, LABELS = "images.xz", "labels.npz"
NOISY = tuple(PEOPLE)


def files_by_class(archive: zipfile.ZipFile, part: str) -> list[list[str]]:
    """Return the names of a part's images, sorted, a list for each class in sorted order."""
    names = sorted(
        name
        for name in archive.namelist()
        if name.startswith(f"{part}/") and not name.endswith("/")
    )
    classes = sorted({name.split("/")[1] for name in names})
    return [[name for name in names if name.split("/")[1] == each] for each in classes]


def in_order_of(labels: NDArray[np.int64], files: list[list[str]]) -> list[str]:
    """Return file k of class c in the place of the k-th label c."""
    ordered = [""] * len(labels)
    for label, names in enumerate(files):
        for place, name in zip(np.flatnonzero(labels == label), names, strict=True):
            ordered[place] = name
    return ordered


def pack(root: Path, folder: Path) -> None:
    """Write the packed data into a folder."""
    human = {name: labels.numpy() for name, labels in read_cifar10n(root).items()}
    train = human[TRUE]
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / "cifar10-images.zip") as archive:
        tests = files_by_class(archive, "test")
        test = np.repeat(np.arange(len(tests)), list(map(len, tests)))
        names = in_order_of(train, files_by_class(archive, "train"))
        names += [name for each in tests for name in each]
        images = [archive.read(name) for name in names]
    # the strongest preset: its dictionary spans all images
    packed = lzma.compress(b"".join(images), preset=9)
    (folder / IMAGES).write_bytes(packed)
    labels = {"train": train, "test": test, **{name: human[name] for name in NOISY}}
    content = io.BytesIO()
    np.savez_compressed(
        content,
        sizes=np.array([len(each) for each in images], dtype=np.int32),
        **{name: each.astype(np.uint8) for name, each in labels.items()},
    )
    (folder / LABELS).write_bytes(content.getvalue())


def main() -> None:
    """Pack what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds data sets")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    pack(given.root, given.out)
    size = sum(file.stat().st_size for file in given.out.iterdir())
    print(f"{given.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
