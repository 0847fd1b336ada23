"""What a recording, or a saved state, knows of each sample."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...scores.extras import EACH_SAMPLE
from ...scores.least_squares import fit_mean_excess
from ...scores.saved import saved_scores
from ...utils.validation import check_count, check_keys, check_tensor
from ..recording import RecordedSamples, epoch_numbers, read_recording, read_run, read_samples
from .ledger import Ledger

if TYPE_CHECKING:
    from ...pruned_dataset import PrunedDataset


def ledger_of(train: PrunedDataset) -> Ledger:
    """Return what a pruned dataset knows of each sample, with everything reported so far.

    Raises:
        RuntimeError: it does not track its samples.
    """
    with train.epochs.lock:
        score = train.epochs.latest_score()
    if not all(score.follows(name) for name in EACH_SAMPLE):
        raise RuntimeError(
            "this run does not tell how suspicious its samples are: call "
            f"{type(train).__name__}.track_samples(), or record(directory), before the first epoch"
        )
    kept = {name: values.numpy() for name, values in score.extras(EACH_SAMPLE).items()}
    counted = score.visits()
    return Ledger(
        kept["mean_excess"],
        score.values().numpy(),
        kept["visits"],
        kept["last_epochs"],
        0 if counted is None else counted[1],
        None if score.keys is None else score.keys.fingerprints,
        method=type(train).__name__,
        dataset=type(train.dataset).__name__,
    )


def ledger_of_recording(directory: str | os.PathLike[str]) -> Ledger:
    """Return what a recording of `train.record(directory)` knows of each sample.

    If it has the losses of all epochs, the mean excess is fitted to all of them at once, which
    finds more wrong labels than reading them one by one during the run.

    Raises:
        FileNotFoundError: there is no recording, or it contains no epoch.
        RuntimeError: a file is damaged.
    """
    facts, samples = read_run(directory), read_samples(directory)
    return Ledger(
        _fitted(directory, samples),
        samples.scores,
        samples.visits,
        samples.last_epochs,
        samples.epochs,
        samples.keys,
        method=str(facts["method"]),
        dataset=str(facts["dataset"]),
    )


def _fitted(directory: str | os.PathLike[str], samples: RecordedSamples) -> NDArray[np.float32]:
    """Return the mean excess of each sample: shape (N,)."""
    is_whole = epoch_numbers(directory) == list(range(samples.epochs))
    # the samples of a stream are recorded by their fingerprints, which are no places
    if not is_whole or samples.keys is not None:
        return samples.mean_excess
    epochs = (batches.finite() for batches in read_recording(directory))
    return fit_mean_excess(epochs, samples.mean_excess.size)


def ledger_of_state(state: Mapping[str, Any]) -> Ledger:
    """Return what a state of `train.state_dict()` knows of each sample.

    Raises:
        RuntimeError: the state is incomplete or damaged.
        ValueError: the run did not track its samples.
    """
    score = state["score"]
    check_keys(score, ("values",), "the state's score")
    if "mean_excess" not in score:
        raise ValueError(
            "the state does not tell how suspicious its samples are: call train.track_samples(), "
            "or train.record(directory), before the first epoch of the run that saves it"
        )
    kept, history = score["mean_excess"], score.get("history", {})
    check_keys(kept, ("values",), "the state's mean_excess")
    check_keys(history, ("visits", "last_epochs", "num_epochs"), "the state's history")
    excess = check_tensor("mean_excess's values", kept["values"], (None,), torch.float32)
    count, keys = excess.numel(), None
    if "keys" in score:
        keys = check_tensor("keys", score["keys"], (count,), torch.int64).numpy()

    def counted(name: str) -> NDArray[np.int32]:
        counts: NDArray[np.int32] = check_tensor(
            f"history's {name}", history[name], (count,), torch.int32
        ).numpy()
        return counts

    return Ledger(
        excess.numpy(),
        check_tensor("values", saved_scores(score), (count,), torch.float32).numpy(),
        counted("visits"),
        counted("last_epochs"),
        check_count("history's num_epochs", history["num_epochs"]),
        keys,
        method=str(state.get("method", "")),
        dataset=str(state.get("dataset", "")),
    )
