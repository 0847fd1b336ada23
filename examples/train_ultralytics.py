"""Ultralytics: `PrunedTrainerMixin` before its trainer, and a method `prune`.

    python examples/train_ultralytics.py [--epochs 20] [--folder ultralytics] [--resume last.pt]

Needs `pip install '.[ultralytics]'` in the clone. It draws its own images, and downloads nothing.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("YOLO_OFFLINE", "1")  # before Ultralytics is imported: no look for updates

import torch
from PIL import Image, ImageDraw
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

from dynaprune import InfoBatch, KalmanBLS
from dynaprune.integrations.ultralytics import PrunedTrainerMixin

SIDE, SHAPES = 64, ("disc", "square")


class PrunedTrainer(PrunedTrainerMixin, DetectionTrainer):
    """Trains a detector on pruned epochs."""

    def prune(self, dataset):
        """Return the pruned training set."""
        return KalmanBLS(InfoBatch(dataset, num_epochs=self.epochs, saving=0.3)).proxy()


def draw(folder, part, images):
    """Draw images with one disc or square each, and write their boxes as Ultralytics reads them."""
    generator = torch.Generator().manual_seed(len(part))
    for kind in ("images", "labels"):
        (folder / kind / part).mkdir(parents=True, exist_ok=True)
    for number in range(images):
        label, width = number % 2, 20 + number % 12
        x, y = torch.randint(0, SIDE - width, (2,), generator=generator).tolist()
        background, color = torch.randint(0, 100, (2, 3), generator=generator).tolist()
        image = Image.new("RGB", (SIDE, SIDE), tuple(background))
        pen = ImageDraw.Draw(image)
        shape = pen.rectangle if label else pen.ellipse
        shape((x, y, x + width, y + width), fill=tuple(100 + each for each in color))
        image.save(folder / "images" / part / f"{number:03}.png")
        center_x, center_y, share = (x + width / 2) / SIDE, (y + width / 2) / SIDE, width / SIDE
        line = f"{label} {center_x:.4f} {center_y:.4f} {share:.4f} {share:.4f}\n"
        (folder / "labels" / part / f"{number:03}.txt").write_text(line)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("ultralytics"))
    parser.add_argument("--resume", help="last.pt of a run that was stopped")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    folder = arguments.folder.resolve()
    draw(folder, "train", 128)
    draw(folder, "val", 64)
    description = folder / "shapes.yaml"
    names = "".join(f"\n  {number}: {name}" for number, name in enumerate(SHAPES))
    description.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames:{names}\n")

    model = YOLO(arguments.resume or "yolo11n.yaml")  # .yaml: random weights, nothing to download
    model.train(
        data=str(description),
        epochs=arguments.epochs,
        trainer=PrunedTrainer,
        resume=arguments.resume is not None,
        imgsz=SIDE,
        batch=8,
        nbs=8,
        optimizer="AdamW",
        lr0=0.002,
        warmup_epochs=1.0,
        close_mosaic=arguments.epochs // 2,
        project=str(folder / "runs"),
        device="" if torch.cuda.is_available() else "cpu",
        val=False,  # only after the last epoch
        amp=False,  # the check of mixed precision would download a model
        plots=False,  # plots would download a font
    )
    found = model.trainer.metrics["metrics/mAP50(B)"]
    print(f"test mAP50 {found:.1%}; {model.trainer.pruned.summary()}")


if __name__ == "__main__":
    main()
