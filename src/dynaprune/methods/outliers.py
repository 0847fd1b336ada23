"""How many samples have wrong labels, by how their scores are distributed."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor


def share_of_outliers(scores: Tensor, errors: Tensor | None = None) -> float:
    """Return which share of the samples stands out by high scores, in [0, 0.5].

    Where scores are one number for most samples and a higher one for a share p of them, their
    skewness is g = (1 − 2p)/√(p·(1 − p)), and so p = (1 − g/√(4 + g²))/2. Symmetric errors leave
    the third moment as it is and add to the variance, from which they are taken away if they are
    known. Scores that are not skewed to the right have no such share: 0 is returned.

    Arguments:
        scores: float32, shape (N,); the higher, the worse a sample is learned.
        errors: float32, shape (N,): their standard errors; `None` if they are not known.

    Example:
        >>> import torch
        >>> round(share_of_outliers(torch.tensor([0.1] * 90 + [2.3] * 10)), 3)
        0.1
    """
    differences = scores.numpy().astype(np.float64)
    differences -= differences.mean()
    scale = float(np.abs(differences).max(initial=0.0))
    if scale == 0:
        return 0.0
    differences /= scale  # the third power of very small numbers would be 0
    squares = np.square(differences)
    variance, third = float(squares.mean()), float((squares * differences).mean())
    if errors is not None:
        variance -= float(np.square(errors.numpy().astype(np.float64) / scale).mean())
    if variance <= 0 or third <= 0:
        return 0.0
    skewness = third / math.sqrt(variance) ** 3
    return (1 - skewness / math.sqrt(4 + skewness**2)) / 2
