"""Tables: rows of numbers, and one to be told from the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from dynaprune.utils.optional_imports import require

TEST = 0.25
SEGMENTS = ("brickface", "cement", "foliage", "grass", "path", "sky", "window")


def load_table(name: str) -> tuple[TensorDataset, TensorDataset]:
    """Load a table by its name, and return a training and a test set.

    Samples are columns, float32, shape (columns,), of mean 0 and variance 1 in the training set,
    and a target: float32, shape (), scaled likewise, or a class, int64, for the last two.

    Arguments:
        name: `medical-visits` (20,190 people of the RAND Health Insurance Experiment; how often
            they saw a doctor, as log(1 + visits)), `affairs` (6,366 answers to Redbook, 1974; time
            spent, as log(1 + time)), `breast-cancer` (569 tumours; benign or not), or
            `image-segments` (2,310 patches of outdoor photographs; what they show, in the order of
            `SEGMENTS`).

    Raises:
        ValueError: there is no such table.
        ImportError: the package that ships it is not installed.
    """
    if name == "breast-cancer":
        bunch = require("sklearn.datasets", "bench").load_breast_cancer()
        columns, targets = _numbers(bunch.data), torch.from_numpy(bunch.target).long()
    elif name == "image-segments":
        rows = list(require("river.datasets", "bench").ImageSegments())
        columns = torch.tensor([list(row.values()) for row, _ in rows], dtype=torch.float64)
        targets = torch.tensor([SEGMENTS.index(segment) for _, segment in rows])
    elif name in ("medical-visits", "affairs"):
        module = {"medical-visits": "randhie", "affairs": "fair"}[name]
        frame = require(f"statsmodels.datasets.{module}", "bench").load_pandas()
        columns, targets = _numbers(frame.exog), torch.log1p(_numbers(frame.endog)).float()
    else:
        raise ValueError(
            "the table must be medical-visits, affairs, breast-cancer or image-segments, but it "
            f"is {name!r}"
        )
    inputs = columns.float()
    # the same split every time: seeds are about training
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    test, train = order[: round(TEST * len(order))], order[round(TEST * len(order)) :]
    inputs = _scaled(inputs, train)
    if targets.is_floating_point():
        targets = _scaled(targets, train)
    return (
        TensorDataset(inputs[train], targets[train]),
        TensorDataset(inputs[test], targets[test]),
    )


def _numbers(frame: Any) -> Tensor:
    return torch.from_numpy(np.array(frame, dtype=np.float64))


def _scaled(values: Tensor, train: Tensor) -> Tensor:
    mean, spread = values[train].mean(0), values[train].std(0)
    return (values - mean) / spread.clamp(min=1e-6)
