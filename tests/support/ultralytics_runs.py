"""Small runs of Ultralytics: images with one bright square each, and networks of a few layers.

Ultralytics is imported on use: this module is also imported where it is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

NAMES = ("dark", "bright")
IMAGES, SIDE = 16, 32
HEADS = {"detect": "Detect, [nc]", "segment": "Segment, [nc, 4, 8]", "classify": "Classify, [nc]"}
SETTINGS: dict[str, Any] = {
    "imgsz": SIDE,
    "batch": 4,
    "nbs": 4,
    "device": "cpu",
    "pretrained": False,
    "optimizer": "SGD",
    "lr0": 0.01,
    "warmup_epochs": 0.0,
    "mosaic": 0.0,
    "close_mosaic": 0,
    "val": False,
    "amp": False,
    "plots": False,
    "verbose": False,
}


def write_boxes(folder: Path, *, images: int = IMAGES, polygons: bool = False) -> Path:
    """Write images with one box each, or its outline, and return their description."""
    generator = np.random.default_rng(0)
    for part in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True)
        for number in range(images):
            label, (x, y) = number % 2, generator.integers(0, SIDE // 2, 2)
            picture = generator.integers(60, 120, (SIDE, SIDE, 3), dtype=np.uint8)
            picture[y : y + 12, x : x + 12] = 255 * label
            Image.fromarray(picture).save(folder / "images" / part / f"{number:02}.png")
            left, top, right, bottom = (each / SIDE for each in (x, y, x + 12, y + 12))
            box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            outline = (left, top, right, top, right, bottom, left, bottom)
            numbers = " ".join(f"{each:.5f}" for each in (outline if polygons else box))
            (folder / "labels" / part / f"{number:02}.txt").write_text(f"{label} {numbers}\n")
    description = {"path": str(folder), "train": "images/train", "val": "images/val"}
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump({**description, "names": dict(enumerate(NAMES))}))
    return path


def write_classes(folder: Path, *, images: int = IMAGES) -> Path:
    """Write dark and bright images into a folder for each class, and return the root."""
    generator = np.random.default_rng(0)
    for part in ("train", "val"):
        for label, name in enumerate(NAMES):
            (folder / part / name).mkdir(parents=True)
            for number in range(images // 2):
                picture = generator.integers(0, 128, (SIDE, SIDE, 3), dtype=np.uint8) + 120 * label
                Image.fromarray(picture.astype(np.uint8)).save(
                    folder / part / name / f"{number}.png"
                )
    return folder


def write_network(folder: Path, task: str = "detect") -> Path:
    """Write the description of a network of three layers and a head."""
    layers = ["[-1, 1, Conv, [8, 3, 2]]", "[-1, 1, Conv, [8, 3, 2]]", "[-1, 1, Conv, [16, 3, 2]]"]
    source = "-1" if task == "classify" else "[2]"
    lines = ["nc: 2", "backbone:", *(f"  - {layer}" for layer in layers)]
    path = folder / f"tiny-{task}.yaml"
    path.write_text("\n".join([*lines, "head:", f"  - [{source}, 1, {HEADS[task]}]\n"]))
    return path


def base_trainer(task: str = "detect") -> Any:
    """Return the trainer class of a task."""
    from ultralytics.models.yolo.classify import ClassificationTrainer
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.models.yolo.segment import SegmentationTrainer

    trainers = {
        "classify": ClassificationTrainer,
        "detect": DetectionTrainer,
        "segment": SegmentationTrainer,
    }
    return trainers[task]


def pruned_trainer(
    method: Callable[[Any, int], Any], task: str = "detect", bases: Sequence[type] = ()
) -> Any:
    """Return a trainer class whose `prune` calls `method` with the data set and the epochs."""
    from dynaprune.integrations.ultralytics import PrunedTrainerMixin

    class PrunedTrainer(*bases, PrunedTrainerMixin, base_trainer(task)):  # type: ignore[misc]
        def prune(self, dataset: Any) -> Any:
            return method(dataset, self.epochs)

    return PrunedTrainer


def train(
    folder: Path,
    trainer: Any,
    *,
    task: str = "detect",
    epochs: int = 3,
    events: dict[str, Callable[[Any], None]] | None = None,
    **settings: Any,
) -> Any:
    """Train on the images of `folder`, written if needed, and return the trainer."""
    from ultralytics import YOLO

    data = folder / "data"
    if not data.exists():
        data.mkdir()
        if task == "classify":
            write_classes(data)
        else:
            write_boxes(data, polygons=task == "segment")
    model = YOLO(str(write_network(folder, task)), task=task, verbose=False)
    for event, callback in (events or {}).items():
        model.add_callback(event, callback)
    model.train(
        data=str(data if task == "classify" else data / "data.yaml"),
        epochs=epochs,
        project=str(folder / "runs"),
        trainer=trainer,
        **{**SETTINGS, **settings},
    )
    return model.trainer


class Served:
    """Records the images of each batch that a run trains on, by epoch, for `events`."""

    def __init__(self) -> None:
        self.epochs: dict[int, list[list[str]]] = {}

    def recording(self, base: type) -> type:
        """Return a mixin that records the images of each batch."""
        served = self

        class Recording(base):  # type: ignore[misc, valid-type]
            def preprocess_batch(self, batch: Any) -> Any:
                files = [Path(each).stem for each in batch.get("im_file", [])]
                served.epochs.setdefault(self.epoch, []).append(files)
                return super().preprocess_batch(batch)

        return Recording
