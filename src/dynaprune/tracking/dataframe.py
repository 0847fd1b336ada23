"""Scores, visits and weights of all samples as a pandas table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.ids import sample_ids
from ..utils.optional_imports import require

if TYPE_CHECKING:
    from ..pruned_dataset import PrunedDataset
    from ..scores import Score
    from .review import Verdicts


def samples_frame(
    train: PrunedDataset,
    ids: str | Iterable[Any] | None = None,
    verdicts: Verdicts | None = None,
) -> Any:
    """Return a pandas DataFrame with one row per sample; see `PrunedDataset.to_frame`.

    Raises:
        ImportError: pandas is not installed.
        ValueError: `ids` has another length than the dataset, or contains an id twice; the dataset
            does not know its ids; the verdicts are on samples of another dataset.
    """
    pandas = require("pandas", "export")
    score = train.epochs.latest_score()
    scores = score.values().numpy()
    selection = train.next_selection()
    weights = np.zeros(scores.size, dtype=np.float32)
    chosen = selection.indices.numpy()
    weights[chosen] = 1.0 if selection.weights is None else selection.weights.numpy()
    columns: dict[str, Any] = {}
    if score.follows("mean_excess"):
        columns["mean_excess"] = score.extras(["mean_excess"])["mean_excess"].numpy().copy()
        columns["label_quality"] = label_quality(columns["mean_excess"])
    columns["score"] = scores.copy()
    if (errors := score.errors()) is not None:
        columns["error"] = errors.numpy().copy()
    # samples that the epoch in progress has yet to serve do not count as skipped
    last_complete = score if train.epochs.is_done() else train.epochs.score
    if (counted := last_complete.visits()) is not None and counted[0].size == scores.size:
        visits, epochs = counted
        columns["visits"] = visits.copy()
        columns["skipped"] = np.maximum(0, epochs - visits).astype(np.int32)
        if last_complete.follows("last_epochs"):
            last = last_complete.extras(["last_epochs"])["last_epochs"]
            columns["last_epoch"] = last.numpy().copy()
    columns["next_weight"] = weights
    if verdicts is not None:
        columns |= _columns_of(verdicts, score)
    name, values, rows = "index", np.arange(scores.size), np.arange(scores.size)
    if score.keys is not None:
        name, values = "fingerprint", score.keys.fingerprints
    if ids is not None:
        given = _named(train, score, ids) if isinstance(ids, str) else list(ids)
        name, values = "id", pandas.Index(given)
        if score.keys is not None:
            rows = train.numbers_of(given).numpy()
        elif len(given) != scores.size:
            raise ValueError(
                f"ids must have one entry per sample, {scores.size:,} in total, but "
                f"{len(given):,} were given"
            )
        if not values.is_unique:
            twice = values[values.duplicated()][0]
            raise ValueError(f"ids must be unique, but {twice!r} was given twice")
    is_known = rows >= 0  # a stream may not have yielded all of the given keys yet
    return pandas.DataFrame(
        {column: each[rows[is_known]] for column, each in columns.items()},
        index=pandas.Index(values[is_known], name=name),
    )


def _named(train: PrunedDataset, score: Score, ids: str) -> list[Any]:
    """Return the names of samples that their dataset knows."""
    if score.keys is not None:
        raise ValueError(f"ids of a stream must be its keys, as a list, but {ids!r} was given")
    return sample_ids(train.dataset, ids)


def _columns_of(verdicts: Verdicts, score: Score) -> dict[str, NDArray[np.str_]]:
    if score.keys is not None:
        raise ValueError(
            "verdicts are on samples by their index, but those of a stream have keys: give none"
        )
    return verdicts.columns(score.num_samples)


def label_quality(mean_excess: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how probable labels are, from 0 to 1, shape (N,): 1 − Φ(mean excess).

    Mean excess is about normally distributed with mean 0, so half of the samples are below 0.5.
    """
    quality: NDArray[np.float32] = torch.special.ndtr(torch.from_numpy(-mean_excess)).numpy()
    return quality
