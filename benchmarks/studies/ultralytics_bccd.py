"""Ultralytics: a small YOLO on blood cells, on all images and on 70% of the visits.

    python benchmarks/studies/ultralytics_bccd.py --root DATA    # trains; goes on where it stopped
    python benchmarks/studies/ultralytics_bccd.py --root DATA --time    # seconds of both, in turns
    python benchmarks/studies/ultralytics_bccd.py --root DATA --mixing  # what mosaic does to scores
    python benchmarks/studies/ultralytics_bccd.py --tables       # fills docs/ultralytics.md

`yolo11n.yaml` begins with random weights and trains on the 292 images of BCCD's `trainval` part, at
128 pixels, in batches of 8, with AdamW and the augmentation of Ultralytics: mosaic until the last
third of the epochs. The result is the mAP50-95 on the 72 images of the test part after the last
epoch; nothing is chosen by it. It trains in the environment of `make test-vision`; `--tables` needs
the extra `bench`. About 40 minutes on one core; `--time` needs an idle one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept_runs import RESULTS, Runs

from dynaprune import BLS, InfoBatch, KalmanBLS, NoPrune, PrunedDataset, RandomPrune
from dynaprune.tracking import Callback

sys.path.extend(str(Path(__file__).parents[2] / each) for each in ("benchmarks", "tests/support"))
from pages import DOCS, fill_page
from torchvision_operators import declare_operators
from zoo.datasets.yolo_layout import write_cells

os.environ |= {"YOLO_OFFLINE": "1", "YOLO_VERBOSE": "0"}  # read when Ultralytics is imported

EPOCHS, SAVED, SEEDS = 30, 0.3, range(5)
FULL, FEWER, RANDOM, PRUNED = "full", "fewer epochs", "random", "BLS-InfoBatch"
WAYS: dict[str, Callable[[Any, int, int], PrunedDataset] | None] = {
    FULL: None,
    PRUNED: lambda data, epochs, seed: BLS(
        InfoBatch(data, epochs, saving=SAVED, seed=seed)
    ).proxy(),
    RANDOM: lambda data, epochs, seed: RandomPrune(data, epochs, saving=SAVED, seed=seed),
    FEWER: None,
}
SETTINGS: dict[str, Any] = {
    "imgsz": 128,
    "batch": 8,
    "nbs": 8,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 1.0,
    "warmup_bias_lr": 0.0,
    "pretrained": False,
    "cache": "ram",
    "device": "cpu",
    "val": False,  # only after the last epoch
    "amp": False,  # or it downloads a model to check it
    "plots": False,
    "verbose": False,
}


def train(
    data: Path,
    method: Callable[[Any, int, int], PrunedDataset] | None,
    *,
    epochs: int,
    seed: int,
    **settings: Any,
) -> Any:
    """Train, and return the trainer, with `marks` and `saves`: wall and CPU seconds, shape (·, 2).

    `marks` has the beginning of the first epoch and the end of each one; `saves` the time at which
    the checkpoint of each one was written.
    """
    from ultralytics import YOLO
    from ultralytics.models.yolo.detect import DetectionTrainer

    from dynaprune.integrations.ultralytics import PrunedTrainerMixin

    class PrunedTrainer(PrunedTrainerMixin, DetectionTrainer):  # type: ignore[misc]
        def prune(self, dataset: Any) -> PrunedDataset:
            assert method is not None
            return method(dataset, self.epochs, seed)

    marks: list[tuple[float, float]] = []
    saves: list[tuple[float, float]] = []

    def note_in(times: list[tuple[float, float]]) -> Callable[[Any], None]:
        return lambda trainer: times.append((time.perf_counter(), time.process_time()))

    model = YOLO("yolo11n.yaml", verbose=False)
    model.add_callback("on_train_start", note_in(marks))
    model.add_callback("on_train_epoch_end", note_in(marks))
    model.add_callback("on_model_save", note_in(saves))
    settings = {"close_mosaic": epochs // 3, **SETTINGS, **settings}
    with tempfile.TemporaryDirectory() as folder:
        model.train(
            data=str(data),
            epochs=epochs,
            seed=seed,
            project=folder,
            trainer=DetectionTrainer if method is None else PrunedTrainer,
            **settings,
        )
    model.trainer.marks, model.trainer.saves = np.array(marks), np.array(saves)
    return model.trainer


def run(data: Path, way: str, seed: int) -> dict[str, Any]:
    """Train in one way, and return what it has reached and cost."""
    epochs = round((1 - SAVED) * EPOCHS) if way == FEWER else EPOCHS
    started = time.perf_counter(), time.process_time()
    trainer = train(data, WAYS[way], epochs=epochs, seed=seed)
    metrics = {name.split("/")[1][:-3]: float(trainer.metrics[name]) for name in _METRICS}
    wall, cpu = trainer.marks[-1] - trainer.marks[0]
    # the last checkpoint is written after validation, and after the last mark
    saving_wall, saving_cpu = (trainer.saves[:-1] - trainer.marks[1:-1]).sum(0)
    images = len(trainer.train_loader.dataset)
    visits = epochs * images if WAYS[way] is None else trainer.pruned.summary().visits_made
    return {
        **metrics,
        "visits": visits,
        "train_seconds": wall,
        "train_cpu": cpu,
        "saving_seconds": saving_wall,
        "saving_cpu": saving_cpu,
        "total_cpu": time.process_time() - started[1],
    }


_METRICS = ("metrics/mAP50-95(B)", "metrics/mAP50(B)")


TIMED_EPOCHS = 3


def time_in_turns(data: Path, repeat: int) -> dict[str, Any]:
    """Train in full and pruned; return the seconds of epochs, and those of their checkpoints.

    One more epoch is trained, whose checkpoint would come after validation.
    """
    result: dict[str, Any] = {}
    for way in (FULL, PRUNED) if repeat % 2 else (PRUNED, FULL):
        trainer = train(data, WAYS[way], epochs=TIMED_EPOCHS + 1, seed=repeat)
        ends, saves = trainer.marks[1:-1], trainer.saves[:-1]
        for place, clock in enumerate(("wall", "cpu")):
            result[f"{way} {clock}"] = (saves[-1] - trainer.marks[0])[place]
            result[f"{way} saving {clock}"] = (saves - ends).sum(0)[place]
    return result


def mix(data: Path, mosaic: float, seed: int) -> dict[str, Any]:
    """Return how well scores order the images by their losses without augmentation."""
    scores: dict[str, PrunedDataset] = {}

    def method(dataset: Any, epochs: int, seed: int) -> PrunedDataset:
        trained = BLS(NoPrune(dataset, epochs, seed=seed)).proxy()
        scores["BLS"], scores["KalmanBLS"] = (
            trained,
            KalmanBLS(NoPrune(dataset, epochs, seed=seed)).proxy(),
        )
        trained.add_callback(Copying(scores["KalmanBLS"]))
        return trained

    trainer = train(data, method, epochs=MIXED_EPOCHS, seed=seed, mosaic=mosaic, close_mosaic=0)
    losses = losses_of_images(trainer)
    return {
        name: rank_correlation(pruned.scores.numpy(), losses) for name, pruned in scores.items()
    }


class Copying(Callback):
    """Gives the losses of each epoch to another pruned dataset of the same samples."""

    def __init__(self, other: PrunedDataset) -> None:
        self.other = other

    def on_epoch_end(self, result: Any) -> None:
        self.other.epochs.score.observe(result.measurements)


MIXED_EPOCHS = 6


def losses_of_images(trainer: Any) -> np.ndarray:
    """Return the loss of each training image without augmentation: float64, shape (N,)."""
    dataset = trainer.build_dataset(trainer.data["train"], mode="val", batch=1)
    place = {path: number for number, path in enumerate(trainer.train_loader.dataset.im_files)}
    losses = np.full(len(place), np.nan)
    model = trainer.model.eval()
    with torch.no_grad():
        for number in range(len(dataset)):
            batch = trainer.preprocess_batch(dataset.collate_fn([dataset[number]]))
            losses[place[batch["im_file"][0]]] = float(model(batch)[0].sum())
    return losses


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's rank correlation; there are no ties."""
    ranks = [np.argsort(np.argsort(each)) for each in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="the folder that holds bccd.zip")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--mixing", action="store_true")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    runs, timed, mixed = (
        Runs(arguments.results / f"ultralytics-bccd{suffix}.jsonl")
        for suffix in ("", "-time", "-mixing")
    )
    if arguments.tables:
        fill_page(DOCS / "ultralytics.md", {"measured": measured(runs.results)})
        print_times(timed.results)
        print_correlations(mixed.results)
        return
    declare_operators()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = write_cells(arguments.root, Path(folder))
        if arguments.time:
            for repeat in range(5):
                timed.do({"repeat": repeat}, time_in_turns, data, repeat)
        elif arguments.mixing:
            for seed in SEEDS:
                for mosaic in (0.0, 1.0):
                    mixed.do({"seed": seed, "mosaic": mosaic}, mix, data, mosaic, seed)
        else:
            for seed in SEEDS:
                for way in WAYS:
                    key = {"epochs": EPOCHS, "seed": seed, "way": way}
                    runs.do(key, run, data, way, seed)


def measured(runs: list[Any]) -> str:
    """Return the table of what each way has reached: 95% intervals over the seeds that all have."""
    from dynaprune.bench.statistics import mean_of

    of = {(each["way"], each["seed"]): each for each in runs if each["epochs"] == EPOCHS}
    seeds = [seed for seed in SEEDS if all((way, seed) in of for way in WAYS)]
    lines = [
        f"| {len(seeds)} seeds | visits | mAP50-95 % | against full % | mAP50 % | CPU seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for way in WAYS:
        done = [of[way, seed] for seed in seeds]
        change = [of[way, seed]["mAP50-95"] - of[FULL, seed]["mAP50-95"] for seed in seeds]
        cells = [
            f"{done[0]['visits']:,}",
            mean_of([each["mAP50-95"] for each in done]).percent(),
            "" if way == FULL else mean_of(change).percent(sign=True),
            mean_of([each["mAP50"] for each in done]).percent(),
            mean_of([each["total_cpu"] for each in done]).text(digits=0),
        ]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def print_times(timed: list[Any]) -> None:
    """Print the share of time saved over that of visits, with and without checkpoints."""
    for clock in ("wall", "cpu"):
        for without in (False, True):
            shares = []
            for each in timed:
                pruned_time, full_time = (
                    each[f"{way} {clock}"] - without * each[f"{way} saving {clock}"]
                    for way in (PRUNED, FULL)
                )
                shares.append((1 - pruned_time / full_time) / SAVED)
            low, middle, high = min(shares), statistics.median(shares), max(shares)
            what = f"{clock} {'without' if without else 'with'} checkpoints"
            print(f"{what}: {middle:.2f} of the visits saved, from {low:.2f} to {high:.2f}")
        for way in (FULL, PRUNED):
            one = statistics.median(each[f"{way} saving {clock}"] for each in timed) / TIMED_EPOCHS
            epoch = statistics.median(each[f"{way} {clock}"] for each in timed) / TIMED_EPOCHS
            print(f"{clock}, {way}: {epoch:.2f} s an epoch, {1000 * one:.0f} ms its checkpoint")


def print_correlations(mixed: list[Any]) -> None:
    """Print how well scores order the images, with 95% intervals over seeds."""
    from dynaprune.bench.statistics import mean_of

    for mosaic in sorted({each["mosaic"] for each in mixed}):
        for score in ("BLS", "KalmanBLS"):
            chosen = [each[score] for each in mixed if each["mosaic"] == mosaic]
            print(f"mosaic={mosaic}, {score}: {mean_of(chosen).text(digits=2)}")


if __name__ == "__main__":
    main()
