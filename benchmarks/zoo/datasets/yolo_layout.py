"""Data sets as folders in the layout of YOLO: a text file with boxes for each image."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from zoo.datasets.cells import NAMES, SIDES
from zoo.datasets.files import find_files


def write_cells(root: Path | None, folder: Path) -> Path:
    """Write BCCD's `trainval` and `test` parts to a folder, and return its description.

    Arguments:
        root: the folder that holds `bccd.zip`, or its folder or zip file.
        folder: where to write.

    Returns:
        The path of the `data.yaml` that Ultralytics reads.

    Raises:
        ValueError, FileNotFoundError: see `find_files`.
    """
    files = find_files(root, "BCCD", "BCCD", "bccd.zip")
    for part in ("trainval", "test"):
        images, labels = (folder / kind / part for kind in ("images", "labels"))
        for each in (images, labels):
            each.mkdir(parents=True, exist_ok=True)
        for stem in files.read(f"BCCD/ImageSets/Main/{part}.txt").decode().split():
            (images / f"{stem}.jpg").write_bytes(files.read(f"BCCD/JPEGImages/{stem}.jpg"))
            described = ElementTree.fromstring(files.read(f"BCCD/Annotations/{stem}.xml"))
            (labels / f"{stem}.txt").write_text("\n".join(_lines(described)))
    description = folder / "data.yaml"
    names = "".join(f"\n  {number}: {name}" for number, name in enumerate(NAMES))
    description.write_text(
        f"path: {folder}\ntrain: images/trainval\nval: images/test\nnames:{names}\n"
    )
    return description


def _lines(image: ElementTree.Element) -> list[str]:
    """Return the class, centre and size of each cell, as shares of the image."""
    width, height = (float(str(image.findtext(f"size/{side}"))) for side in ("width", "height"))
    lines = []
    for cell in image.findall("object"):
        left, top, right, bottom = (float(str(cell.findtext(f"bndbox/{s}"))) for s in SIDES)
        box = (
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        )
        number = NAMES.index(str(cell.findtext("name")))
        lines.append(" ".join([str(number), *(f"{value:.6f}" for value in box)]))
    return lines
