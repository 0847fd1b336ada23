"""The summary of an epoch in a recording: a few kilobytes for a dataset of any size."""

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
"""The maximal number of points in the curves of an epoch."""

LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
"""The levels of the recorded quantiles of the scores."""

MAX_COUNT = 2**53 - 1
"""The largest count that every JSON parser reads exactly."""

MAX_NAMED = 5
"""How many wrong fields an error names."""

MAX_QUANTILE_SCORES = 1_000_000
"""The number of scores from which quantiles are computed: more would hardly change them."""


@dataclass(frozen=True)
class RecordedEpoch:
    """The summary of a completed epoch.

    Attributes:
        number: the number of the epoch, from 0.
        num_samples: N; for a stream, the number of known samples.
        kept: the number of samples in the epoch's plan.
        visits: the number of sample visits made.
        seconds: the wall-clock time of the epoch.
        planning_seconds: the time for updating scores and planning since the previous epoch was
            recorded.
        recording_seconds: the time for recording the previous epoch.
        losses_left_out: the number of losses that were not finite.
        mean_loss: the mean loss per sample visit; NaN if no loss was finite.
        curve_visits: the visits made up to each of at most 100 points of the epoch.
        curve_losses: the mean loss between the previous point and each point.
        curve_rates: the learning rate at each point; empty if it is not known.
        quantiles: the quantiles of the scores after the epoch, at `LEVELS`.
        reliability: the reliability of the scores after the epoch; NaN before the second epoch.
        counted_epochs: the number of epochs, this one included, in which the visits of each sample
            were counted.
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
        """Return the epoch that `to_json` has converted; `None` becomes NaN.

        Raises:
            ValueError: a field is missing, unknown or invalid.
        """
        names = {field.name for field in fields(cls)}
        if wrong := sorted(names.symmetric_difference(values)):
            raise ValueError(f"missing or unknown fields: {', '.join(wrong[:MAX_NAMED])}")
        epoch = cls(**{name: _read(name, values[name]) for name in names})
        points = len(epoch.curve_visits)
        if points > POINTS or len(epoch.curve_losses) != points:
            raise ValueError(f"its curves have {points} and {len(epoch.curve_losses)} points")
        if len(epoch.curve_rates) not in (0, points):
            raise ValueError(f"it has {len(epoch.curve_rates)} learning rates for {points} points")
        if len(epoch.quantiles) not in (0, len(LEVELS)):
            raise ValueError(f"it has {len(epoch.quantiles)} quantiles instead of {len(LEVELS)}")
        return epoch

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values, with `None` for NaN, which JSON does not have."""
        return {name: _without_nan(value) for name, value in vars(self).items()}


def _as_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise ValueError(f"a count must be from 0 to {MAX_COUNT:,}, but it is {_shown(value)}")
    return value


def _as_number(value: Any) -> float:
    if value is None:
        return math.nan
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not -sys.float_info.max <= value <= sys.float_info.max:
        raise ValueError(f"a value must be a finite number, but it is {_shown(value)}")
    return float(value)


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a value must be a list, but it is {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """Return a short text for any value."""
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
"""The parsers of fields by name; all other fields are counts."""


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
        batches: the measurements of the epoch.
        rates: the learning rates at the last steps of this process; empty if they are not known.
            For earlier steps, made before a resume, the result is NaN.
        ranks: the number of ranks; the steps of all ranks alternate in `batches`.
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
    own_steps = steps[ends[1:] - 1] // ranks
    positions = own_steps - (int(steps[-1]) // ranks + 1 - len(rates))
    known_rates = [rates[position] if position >= 0 else math.nan for position in positions]
    return visits.tolist(), means.tolist(), known_rates


def quantiles_of(scores: NDArray[np.float32]) -> list[float]:
    """Return the quantiles of scores, shape (N,), at `LEVELS`."""
    if scores.size == 0:
        return []
    subset = scores[:: max(1, scores.size // MAX_QUANTILE_SCORES)]
    quantiles: list[float] = np.quantile(subset.astype(np.float64), LEVELS).tolist()
    return quantiles
