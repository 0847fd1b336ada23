"""The metrics of a completed epoch, for loggers."""

from __future__ import annotations

import math

from ...training.callbacks import EpochResult


def metrics_of(result: EpochResult) -> dict[str, float]:
    """Return the metrics of an epoch by name, without those that are not finite."""
    score = result.score
    count = max(1, score.num_samples)
    found = {
        "pruning/visits": result.measurements.indices.numel(),
        "pruning/share_served": min(1.0, result.kept / count),
        "pruning/share_saved": result.totals.share_saved,
        "pruning/seconds": result.seconds,
        "pruning/mean_loss": result.mean_loss,
        "pruning/mean_score": float(score.values().double().mean()) if score.num_samples else 0.0,
        "pruning/reliability": score.reliability,
        "pruning/losses_left_out": result.losses_left_out,
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}
