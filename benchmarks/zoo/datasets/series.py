"""Time series: windows of the past, and what came next."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from dynaprune.utils.optional_imports import require

TRAIN = 0.75
"""The share of the time that is trained on; what comes after it is for the test."""


def load_series(name: str, past: int, future: int) -> tuple[TensorDataset, TensorDataset]:
    """Load a series by its name, and return windows of its first part, and of the rest.

    Samples are pairs: the past, float32, shape (past, channels), and the future of the first
    channel, float32, shape (future,). The first channel has mean 0 and variance 1 in the first
    part; the others are the time of day or year, as sine and cosine.

    Arguments:
        name: `temperatures` (hourly, San Francisco, a year) or `carbon-dioxide` (weekly, Mauna
            Loa, 1958 to 2001, as differences to a year before).
        past: how many values a sample knows.
        future: how many it is to tell.

    Raises:
        ValueError: there is no such series.
        ImportError: the package that ships it is not installed.
    """
    periods: tuple[float, ...]
    if name == "temperatures":
        frame = require("vega_datasets", "bench").local_data.sf_temps()
        values, periods = np.asarray(frame["temp"], dtype=np.float64), (24.0, 24 * 365.25)
    elif name == "carbon-dioxide":
        frame = require("statsmodels.datasets.co2", "bench").load_pandas().data
        weekly = frame["co2"].interpolate().to_numpy(dtype=np.float64)
        values, periods = weekly[52:] - weekly[:-52], (365.25 / 7,)
    else:
        raise ValueError(f"the series must be temperatures or carbon-dioxide, but it is {name!r}")
    border = round(TRAIN * len(values))
    scaled = (values - values[:border].mean()) / values[:border].std()
    angles = [2 * np.pi * np.arange(len(values)) / period for period in periods]
    channels = [scaled, *(wave(angle) for angle in angles for wave in (np.sin, np.cos))]
    series = torch.from_numpy(np.stack(channels, axis=1)).float()
    return _windows(series[:border], past, future), _windows(series[border:], past, future)


def _windows(series: Tensor, past: int, future: int) -> TensorDataset:
    windows = series.unfold(0, past + future, 1).transpose(1, 2)
    return TensorDataset(windows[:, :past].contiguous(), windows[:, past:, 0].contiguous())
