"""The scores that a saved state holds, as they were shown while the run went on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..utils.validation import check_keys, check_tensor
from .kalman_bls import KalmanBLS


def saved_scores(state: Mapping[str, Any]) -> Tensor:
    """Return the scores in the state of a score, as its `values()` were: float32, shape (N,).

    `KalmanBLS` saves its estimates without their unit, the loss.

    Raises:
        RuntimeError: the state is incomplete or damaged.

    Example:
        >>> from dynaprune import BLS, NoPrune
        >>> from dynaprune.scores.saved import saved_scores
        >>> saved_scores(BLS(NoPrune(range(3), num_epochs=2), initial=0.5).state_dict())
        tensor([0.5000, 0.5000, 0.5000])
    """
    check_keys(state, ("name", "values"), "the state's score")
    values = check_tensor("values", state["values"], (None,), torch.float32)
    if state["name"] != KalmanBLS.__name__:
        return values
    score = KalmanBLS(range(values.numel()))
    score.load_state_dict(dict(state))
    return score.values()
