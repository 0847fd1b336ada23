"""From scores to the plan of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ..scores import Score
from ..utils.rng import epoch_generator
from ..utils.sampling import all_indices
from .plan import Plan, make_plan
from .selection import Selection, check_selection


class Selects(Protocol):
    """What a planner needs of a method."""

    extra_inputs: tuple[str, ...]
    select: Callable[..., Selection]


class Planner:
    """Lets a method select samples, and makes its selection the plan of an epoch.

    A plan is a pure function of scores, epoch and seed.

    Arguments:
        method: selects from scores.
        seed: fixes every random choice, together with the epoch's number.
        check_samples: raises if the data set is no longer the one that the scores are about.
    """

    def __init__(self, method: Selects, seed: int, check_samples: Callable[[], None]) -> None:
        self._method, self._seed, self._check_samples = method, seed, check_samples

    def plan(self, score: Score, epoch: int) -> Plan:
        """Return the plan of an epoch.

        Raises:
            RuntimeError: the data set has changed, or the method's selection is not valid.
        """
        selection = self.select(score, epoch)
        return make_plan(selection, score.num_samples, epoch, self._seed, score.keys)

    def select(self, score: Score, epoch: int) -> Selection:
        """Return what the method selects for an epoch.

        Raises:
            RuntimeError: the data set has changed, or the method's selection is not valid.
        """
        self._check_samples()
        method = self._method
        score.track(method.extra_inputs)  # it may have changed since the score was adopted
        total = score.num_samples
        if total == 0:  # nothing of a stream is known yet: new samples are served
            return Selection(all_indices(0))
        generator: torch.Generator = epoch_generator(self._seed, epoch)
        values: Tensor = score.values()
        extras: dict[str, Any] = score.extras(method.extra_inputs)
        selection = method.select(values, epoch, generator, **extras)
        check_selection(selection, total, type(method).__name__)
        return selection
