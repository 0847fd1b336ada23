"""The cost of recording relative to training, and the cost of a report on very many samples.

python benchmarks/performance/recording.py --root DATA
python benchmarks/performance/recording.py --samples 1000000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dynaprune import KalmanBLS, NoPrune
from dynaprune.bench.registry import find_task
from dynaprune.bench.training import train_run
from dynaprune.tracking.recording import read_epochs

TASKS = ("digits-cnn", "sst2-lstm", "cifar10-depthwise", "visits-mlp")
EPOCHS = 30
ZOO = Path(__file__).parents[1] / "zoo"


def of_tasks(root: Path | None) -> None:
    """Print the time of recording relative to that of training, for tasks of the bench."""
    print("| task | samples | epochs | training, s | recording, s | share | written, MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in TASKS:
        task = find_task(name, ZOO)()
        task.load(root)
        epochs = task.recipe.epochs
        with tempfile.TemporaryDirectory() as folder:
            train = KalmanBLS(NoPrune(task.train, epochs)).proxy()
            train.record(folder)
            run = train_run(task, task.recipe, train, seed=0)
            # the time of an epoch is recorded with the next one, so that of the last is missing
            spent = [epoch.recording_seconds for epoch in read_epochs(folder)][1:]
            recording = sum(spent) / len(spent) * epochs
            size = sum(path.stat().st_size for path in Path(folder).iterdir())
        training = run.seconds - recording
        print(
            f"| {name} | {len(task.train):,} | {epochs} | {training:.1f} | {recording:.3f} | "
            f"{recording / training:.2%} | {size / 2**20:.1f} |",
            flush=True,
        )


def of_many(samples: int) -> None:
    """Print the time and size of a recording, and of a report, with very many samples."""
    train = KalmanBLS(NoPrune(range(samples), EPOCHS)).proxy()
    labels = np.arange(samples) % 1000
    with tempfile.TemporaryDirectory() as folder:
        train.record(folder, max_megabytes=100)
        for _ in range(EPOCHS):
            share = train.begin_epoch()
            for part in share.order.split(256):
                train.update(torch.rand(()), indices=part)
            train.end_epoch()
        epochs = read_epochs(folder)
        recording = np.median([epoch.recording_seconds for epoch in epochs[1:]])
        started = time.perf_counter()
        page = train.report(Path(folder) / "report.html", labels=labels)
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        print(
            f"{samples:,} samples, {EPOCHS} epochs: {recording:.2f} s of recording per epoch, "
            f"{size / 2**20:,.0f} MiB in the folder; the report took {seconds:.1f} s and has "
            f"{page.stat().st_size / 2**20:.1f} MiB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="folder that contains the data sets")
    parser.add_argument("--samples", type=int, help="the number of samples of a simulated run")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.samples is None:
        of_tasks(given.root)
    else:
        of_many(given.samples)


if __name__ == "__main__":
    main()
