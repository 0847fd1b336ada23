"""The formulas of docs/theory.md."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def averaged(alpha: float, visits: Numbers) -> Numbers:
    """Return the effective number of visits of the average, (Σh)²/Σh² → (1 + α)/(1 − α)."""
    return (1 + alpha) / (1 - alpha) * (1 - alpha**visits) / (1 + alpha**visits)


def static(worth: Numbers | float, batch_size: Numbers | float) -> Numbers:
    """Return the correlation of a score with a constant excess."""
    return np.sqrt(worth / (worth + batch_size - 1))


def predicted(losses: Numbers, true: Numbers, batch_size: int, alpha: float) -> Numbers:
    """Return the correlation of BLS with true losses, from the losses' covariances: shape (E,)."""
    own = losses - losses.mean(1, keepdims=True)
    target = true - true.mean(1, keepdims=True)
    covariance = own @ own.T / own.shape[1]
    found = []
    for visits in range(1, len(losses) + 1):
        weights = alpha ** np.arange(visits - 1.0, -1, -1)
        past = covariance[:visits, :visits]
        shared = weights @ own[:visits] @ target[visits - 1] / own.shape[1]
        noise = (batch_size - 1) * np.square(weights) @ np.diag(past)
        spread = math.sqrt((weights @ past @ weights + noise) * target[visits - 1].var())
        found.append(shared / spread)
    return np.array(found)


def filter_variance(batch_size: int, visits: int, drift: float = 0.02) -> Numbers:
    """Return P of KalmanBLS after each visit, for batches of one size: shape (n,)."""
    found, variance = [], 1.0
    for _ in range(visits):
        variance *= 1 - variance / ((variance + 1) * batch_size)
        found.append(variance)
        variance += drift * (1 - variance)
    return np.array(found)


def best(batch_size: float, visits: Numbers, noise: float = 0.0) -> Numbers:
    """Return the correlation of the best linear estimate from random batches.

    Its remaining variance P, of 1, solves 1/P = 1 + (n/B)/(P + τ²): the fixed point of Tse and
    Hanly (1999) for many senders on one radio channel. Without τ², P = 1 − n/B.
    """
    load = visits / batch_size
    half = (load + noise - 1) / 2
    return np.sqrt(1 - np.maximum(0, np.sqrt(half**2 + noise) - half))
