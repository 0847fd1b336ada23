"""Objects of other libraries that follow the InfoBatch convention, scored by one of our scores.

The convention (the published InfoBatch, SeTa and what is derived from them): an object has
`scores` and `weights`, tensors of shape (N,); its loader sets `cur_batch_index`, the samples of
the batch at hand; the loop calls `update`; and the object reads `scores` when it prunes.

`adopt` leaves all of that in place and replaces two things on the one object: `update`, which
takes a mean loss now, and `scores`, which is folded when it is read. Its class becomes a subclass
of the one it had, so `isinstance` still holds and other objects of that class are not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..distributed import require_single_process
from ..loss import check_loss, scale
from ..record import LossRecord

if TYPE_CHECKING:
    from .score import Score

REQUIRED = ("scores", "weights", "cur_batch_index", "update")


def adopt(base: Any, score: Score) -> None:
    """Make `base` be scored by `score` from now on.

    Raises:
        TypeError: `base` does not follow the convention, or is of a class that cannot be derived.
    """
    missing = [name for name in REQUIRED if not hasattr(base, name)]
    if missing:
        raise TypeError(
            f"{type(score).__name__}(base).proxy() wants an object of a dynaprune method, or one "
            f"that follows the InfoBatch convention ({', '.join(REQUIRED)}), but the given "
            f"{type(base).__name__} has no {', '.join(missing)}"
        )
    if isinstance(base, _Adopted):
        raise RuntimeError(
            f"this {type(base).__name__} is scored by {base._dynaprune.name} already"
        )
    if not hasattr(base, "__dict__"):
        raise TypeError(f"a {type(base).__name__} has no room for a score (it defines __slots__)")
    _derive(base, _State(score, vars(base).pop("scores", base.scores)))


class _State:
    """What `adopt` adds to an object."""

    def __init__(self, score: Score, scores: Tensor) -> None:
        self.score = score
        self.scores = scores  # the object's own tensor, on its own device
        self.record = LossRecord()

    @property
    def name(self) -> str:
        return type(self.score).__name__

    def fold(self) -> None:
        if len(self.record) == 0:
            return
        record, self.record = self.record, LossRecord()
        for part in record.batches().finite().disjoint():
            self.score.observe(part)
            self.scores.copy_(self.score.values())


class _Adopted:
    """Goes before the original class: takes mean losses and folds them when scores are read."""

    __slots__ = ()  # an object's class can only be replaced by one of the same layout

    _dynaprune: _State
    weights: Tensor
    cur_batch_index: Any

    @property
    def scores(self) -> Tensor:
        """The scores, shape (N,), with all that was reported so far."""
        self._dynaprune.fold()
        return self._dynaprune.scores

    @scores.setter
    def scores(self, scores: Tensor) -> None:
        self._dynaprune.scores = scores

    def update(self, loss: Tensor) -> Tensor:
        """Score the batch at hand by its loss and return the loss, rescaled by its weights.

        Arguments:
            loss: the batch's mean loss, of one element, or a loss vector of shape (B,).

        Raises:
            RuntimeError: there is no batch at hand, or the loss has the wrong shape.
        """
        require_single_process(f"{self._dynaprune.name}.proxy() on a {type(self).__name__}")
        if self.cur_batch_index is None or len(self.cur_batch_index) == 0:
            raise RuntimeError(
                f"update() was called without a batch at hand: cur_batch_index of this "
                f"{type(self).__name__} is empty. Call it once for each batch, after the loader "
                "has set cur_batch_index"
            )
        positions = torch.as_tensor(self.cur_batch_index, dtype=torch.int64)
        weights = self.weights[positions.to(self.weights.device)]
        check_loss(loss, len(positions), self._dynaprune.score)
        if loss.numel() == len(positions):
            scaled = scale(loss, weights)
        else:
            on_host = weights.device.type == "cpu"
            scaled = scale(loss, float(weights.mean()) if on_host else weights.mean())
        self.cur_batch_index = []
        record = self._dynaprune.record
        record.append(np.asarray(positions.cpu()), loss)
        # some of these objects stop reading their scores late in a run: keep the record bounded
        if record.num_visits >= self._dynaprune.score.values().numel():
            self._dynaprune.fold()
        return scaled

    def __reduce_ex__(self, protocol: Any) -> Any:
        original = type(self).__mro__[2]
        values = {key: value for key, value in vars(self).items() if key != "_dynaprune"}
        return _rebuild, (original, values, self._dynaprune)


def _rebuild(original: type, values: dict[str, Any], state: _State) -> Any:
    """Make a pickled or copied object anew: its class exists in no module."""
    base: Any = object.__new__(original)
    vars(base).update(values)
    _derive(base, state)
    return base


def _derive(base: Any, state: _State) -> None:
    """Put `_Adopted` before the class of one object."""
    original = type(base)
    attributes = {"__slots__": (), "__doc__": original.__doc__, "__module__": original.__module__}
    base.__class__ = type(original.__name__, (_Adopted, original), attributes)
    base._dynaprune = state
