"""The last part of a run, in which methods stop selecting by score."""

from __future__ import annotations

import math


def first_annealed_epoch(delta: float, num_epochs: int) -> int:
    """Return ⌊δ·E⌋, without what floating point takes from products such as 0.57 · 100."""
    return math.floor(delta * num_epochs + 1e-9)
