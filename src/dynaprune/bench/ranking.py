"""How well a ranking of samples finds the wrong ones among them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def auroc(scores: NDArray[Any], is_wrong: NDArray[np.bool_]) -> float:
    """Return the probability that a wrong sample scores above a right one; ties count half.

    Arguments:
        scores: shape (N,), high for samples that are probably wrong.
        is_wrong: which samples are wrong, bool, shape (N,): some, but not all.

    Example:
        >>> import numpy as np
        >>> from dynaprune.bench.ranking import auroc
        >>> auroc(np.array([3.0, 2.0, 1.0]), np.array([False, True, False]))
        0.5
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    wrong = int(is_wrong.sum())
    above = ranks[is_wrong].sum() - wrong * (wrong + 1) / 2
    return float(above / (wrong * (len(scores) - wrong)))


def precision(scores: NDArray[Any], is_wrong: NDArray[np.bool_]) -> float:
    """Return the share of wrong ones among as many highest scores as samples are wrong.

    Arguments:
        scores: shape (N,), high for samples that are probably wrong.
        is_wrong: which samples are wrong, bool, shape (N,): at least one.

    Example:
        >>> import numpy as np
        >>> from dynaprune.bench.ranking import precision
        >>> precision(np.array([3.0, 2.0, 1.0]), np.array([False, True, True]))
        0.5
    """
    highest = np.argsort(-scores, kind="stable")[: int(is_wrong.sum())]
    return float(is_wrong[highest].mean())
