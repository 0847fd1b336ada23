"""The numbers of an epoch that is over, for loggers."""

from __future__ import annotations

import math

from ...losses.measurements import Batches
from ...scores import Score
from ...training.summary import Summary
from ..recording.epoch_record import mean_loss_of


def metrics_of(
    batches: Batches, score: Score, kept: int, seconds: float, totals: Summary, left_out: int
) -> dict[str, float]:
    """Return the numbers of an epoch by name, those that are finite.

    Arguments:
        batches: what it has measured.
        score: with that folded in.
        kept: samples that it was planned to serve.
        seconds: that it took.
        totals: of the run, this epoch included.
        left_out: losses that were not finite.
    """
    count = max(1, score.num_samples)
    found = {
        "pruning/visits": batches.indices.numel(),
        "pruning/share_served": min(1.0, kept / count),
        "pruning/share_saved": totals.share_saved,
        "pruning/seconds": seconds,
        "pruning/mean_loss": mean_loss_of(batches),
        "pruning/mean_score": float(score.values().double().mean()) if score.num_samples else 0.0,
        "pruning/reliability": score.reliability,
        "pruning/losses_left_out": left_out,
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}
