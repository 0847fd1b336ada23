"""What a recording says of an epoch, in a few kilobytes whatever the size of the data set."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...losses.measurements import Measurements

POINTS = 100
"""Points of an epoch's curve."""

LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
"""Of the scores' quantiles."""

LARGEST = 2**53 - 1
"""The largest count that every reader of JSON reads exactly."""

FEW = 5
"""Names, of what is wrong, that are said."""

SAMPLED = 1_000_000
"""Scores from which quantiles are taken, at most: those of more are known well enough."""


@dataclass(frozen=True)
class RecordedEpoch:
    """What an epoch came to.

    Attributes:
        number: from 0.
        num_samples: N; of a stream those that are known.
        kept: samples that its plan served.
        visits: sample visits that were made.
        seconds: wall-clock seconds that it took.
        planning_seconds: of these, what folding losses into scores and planning took, since the
            epoch before was recorded.
        recording_seconds: seconds that recording the epoch before took.
        losses_left_out: losses that were not finite.
        mean_loss: of a sample visit; NaN if no loss was finite.
        curve_visits: visits made at points of the epoch, as many as 100.
        curve_losses: the mean loss from the point before to each.
        curve_rates: the learning rate there; empty if it is not known.
        quantiles: of the scores after the epoch, at `LEVELS`.
        reliability: of the scores after the epoch; NaN before the second.
        counted_epochs: in how many epochs, this one included, visits of samples were counted.
    """

    number: int
    num_samples: int
    kept: int
    visits: int
    seconds: float
    planning_seconds: float
    recording_seconds: float
    losses_left_out: int
    mean_loss: float
    curve_visits: list[int]
    curve_losses: list[float]
    curve_rates: list[float]
    quantiles: list[float]
    reliability: float
    counted_epochs: int

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RecordedEpoch:
        """Return what `to_json` has made plain, of which JSON has no NaN.

        Raises:
            ValueError: something is missing, or is not what an epoch has.
        """
        names = {field.name for field in fields(cls)}
        if odd := sorted(names.symmetric_difference(values)):
            raise ValueError(f"it lacks, or has but should not, {', '.join(odd[:FEW])}")
        epoch = cls(**{name: _read(name, values[name]) for name in names})
        points = len(epoch.curve_visits)
        if points > POINTS or len(epoch.curve_losses) != points:
            raise ValueError(f"its curves have {points} and {len(epoch.curve_losses)} points")
        if len(epoch.curve_rates) not in (0, points):
            raise ValueError(f"{len(epoch.curve_rates)} learning rates are of {points} points")
        if len(epoch.quantiles) not in (0, len(LEVELS)):
            raise ValueError(f"it has {len(epoch.quantiles)} quantiles, and not {len(LEVELS)}")
        return epoch

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with `None` for what is no number."""
        return {name: _without_nan(value) for name, value in vars(self).items()}


def _as_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise ValueError(f"a count is {_shown(value)}, and not from 0 to {LARGEST:,}")
    return value


def _as_number(value: Any) -> float:
    if value is None:
        return math.nan
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not -sys.float_info.max <= value <= sys.float_info.max:
        raise ValueError(f"a number is {_shown(value)}, and not finite")
    return float(value)


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a list is {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """Return a value as text that is not long, whatever it is."""
    return repr(value) if isinstance(value, (bool, float)) else f"a {type(value).__name__}"


def _as_counts(value: Any) -> list[int]:
    return [_as_count(each) for each in _as_list(value)]


def _as_numbers(value: Any) -> list[float]:
    return [_as_number(each) for each in _as_list(value)]


NUMBERS = ("seconds", "planning_seconds", "recording_seconds", "mean_loss", "reliability")
LISTS = ("curve_losses", "curve_rates", "quantiles")
READ: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(NUMBERS, _as_number),
    **dict.fromkeys(LISTS, _as_numbers),
    "curve_visits": _as_counts,
}
"""How what is no count is read."""


def _read(name: str, value: Any) -> Any:
    read: Callable[[Any], Any] = READ.get(name, _as_count)
    return read(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def curve_of(
    batches: Measurements, rates: Sequence[float], ranks: int = 1
) -> tuple[list[int], list[float], list[float]]:
    """Return visits, mean losses and learning rates at points of an epoch.

    Arguments:
        batches: what it has measured.
        rates: the learning rate at the last steps of this process; none if it is not known. At
            those before, as of an epoch that was resumed, it is NaN.
        ranks: processes that made these steps together, each in turn.
    """
    count = len(batches)
    if count == 0:
        return [], [], []
    sizes = batches.sizes.numpy().astype(np.float64)
    losses = batches.losses.numpy().astype(np.float64)
    weights = np.where(np.isfinite(losses), sizes, 0.0)
    sums = np.where(np.isfinite(losses), losses, 0.0) * weights
    ends = np.linspace(0, count, min(POINTS, count) + 1).round().astype(np.int64)
    starts = ends[:-1]
    totals, known = np.add.reduceat(sums, starts), np.add.reduceat(weights, starts)
    means = np.divide(totals, known, out=np.full(known.size, np.nan), where=known > 0)
    visits = np.cumsum(np.add.reduceat(sizes, starts)).astype(np.int64)
    if not rates:
        return visits.tolist(), means.tolist(), []
    steps = batches.steps.numpy()
    own = steps[ends[1:] - 1] // ranks
    places = own - (int(steps[-1]) // ranks + 1 - len(rates))
    known_rates = [rates[place] if place >= 0 else math.nan for place in places]
    return visits.tolist(), means.tolist(), known_rates


def quantiles_of(scores: NDArray[np.float32]) -> list[float]:
    """Return the quantiles of scores, shape (N,), at `LEVELS`."""
    if scores.size == 0:
        return []
    some = scores[:: max(1, scores.size // SAMPLED)]
    found: list[float] = np.quantile(some.astype(np.float64), LEVELS).tolist()
    return found
