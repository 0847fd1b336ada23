"""Rankings of samples by how probably their labels are wrong, to be compared.

Each has scores, shape (N,), high for wrong labels, and the processor time that it takes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from noisy_sets import NoisySet
from numpy.typing import NDArray
from torch import Tensor
from visits import BATCH, Visits, kept, probabilities, train

from dynaprune import KalmanBLS, NoPrune
from dynaprune.tracking.review.sources import ledger_of_recording
from dynaprune.utils.optional_imports import require

FOLDS = 5


@dataclass(frozen=True)
class Trainings:
    """The trainings on a set with a seed, each made once.

    Attributes:
        noisy: the samples.
        seed: of weights, order and folds.
        folder: where visits are kept.
    """

    noisy: NoisySet
    seed: int
    folder: Path

    def visits(self, batch_size: int = BATCH) -> Visits:
        path = self.folder / f"batch-{batch_size}" / f"{self.seed}.npz"
        return kept(path, self.noisy.task, self.noisy.epochs, batch_size, self.seed)


@dataclass(frozen=True)
class Ranked:
    """A ranking, and what it takes.

    Attributes:
        scores: high for samples whose label is probably wrong: shape (N,).
        seconds: processor time of all trainings.
    """

    scores: NDArray[np.float32]
    seconds: float


def _from_one(by: Callable[[Visits], NDArray[np.float32]], trainings: Trainings) -> Ranked:
    """Rank by the visits of one training."""
    visits = trainings.visits()
    return Ranked(by(visits), visits.seconds)


def _ledger(size: int, batch_size: int, trainings: Trainings, *, recorded: bool = False) -> Ranked:
    """Rank by the mean excess that a run keeps of each sample, or that its recording tells.

    Arguments:
        size: how many samples share a loss: 1 for true losses, the batch size for one number.
        batch_size: of the training.
        trainings: the visits are those of one of them.
        recorded: whether to read all visits at once, from a recording.
    """
    visits = trainings.visits(batch_size)
    started = time.process_time()
    epochs, count = visits.losses.shape
    tracker = KalmanBLS(NoPrune(range(count), epochs, seed=trainings.seed)).proxy()
    folder = tempfile.TemporaryDirectory()
    if recorded:
        tracker.record(folder.name)
    tracker.track_samples()
    for losses in torch.from_numpy(visits.losses):
        for indices in tracker.batches(batch_size):  # the same batches as in the training
            slices = losses[indices].chunk(-(-len(indices) // size))
            means = torch.stack([part.mean() for part in slices])
            tracker.update(means[0] if size == batch_size else means)
    if recorded:
        excess = ledger_of_recording(folder.name).mean_excess
    else:
        excess = tracker.to_frame()["mean_excess"].to_numpy()
    folder.cleanup()
    return Ranked(excess, visits.seconds + time.process_time() - started)


def _out_of_fold(trainings: Trainings) -> Ranked:
    """Rank by cleanlab, from what models say about samples that they were not trained on."""
    splits = require("sklearn.model_selection", "bench").StratifiedKFold
    quality_of = require("cleanlab.rank", "bench").get_label_quality_scores
    task, seed = trainings.noisy.task, trainings.seed
    labels = task.labels.numpy()
    found: Tensor | None = None
    seconds = 0.0
    folds = splits(FOLDS, shuffle=True, random_state=seed).split(labels, labels)
    for number, (others, held_out) in enumerate(folds):
        part = replace(task, inputs=task.inputs[others], labels=task.labels[others])
        model, visits = train(part, trainings.noisy.epochs, BATCH, FOLDS * seed + number)
        predicted = probabilities(model, task.inputs[held_out])
        found = predicted.new_zeros(len(labels), predicted.shape[1]) if found is None else found
        found[held_out] = predicted
        seconds += visits.seconds
    assert found is not None
    return Ranked(-quality_of(labels, found.numpy(), method="self_confidence"), seconds)


RANKINGS: dict[str, Callable[[Trainings], Ranked]] = {
    "ledger, true losses": partial(_ledger, 1, BATCH),
    "ledger, slices of 4": partial(_ledger, 4, BATCH),
    "ledger, slices of 8": partial(_ledger, 8, BATCH),
    "recording, slices of 4": partial(_ledger, 4, BATCH, recorded=True),
    "recording, slices of 8": partial(_ledger, 8, BATCH, recorded=True),
    "ledger, one number a batch of 16": partial(_ledger, 16, 16),
    "ledger, one number a batch of 64": partial(_ledger, BATCH, BATCH),
    "last loss": partial(_from_one, lambda visits: visits.losses[-1]),
    "mean of losses": partial(_from_one, lambda visits: visits.losses.mean(0)),
    "mean of margins (AUM)": partial(_from_one, lambda visits: -visits.margins.mean(0)),
    "five trainings (cleanlab)": _out_of_fold,
}
