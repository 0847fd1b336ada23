"""Objects of other libraries that follow the InfoBatch convention, scored by one of our scores.

The convention (the published InfoBatch, SeTa and what is derived from them): an object has
`scores` and `weights`, tensors of shape (N,); its loader sets `cur_batch_index`, the samples of
the batch at hand; the loop calls `update`; and the object reads `scores` when it prunes.

`adopt` leaves all of that in place and replaces two things on the one object: `update`, which
takes a mean loss now, and `scores`, which is folded when it is read. Its class becomes a subclass
of the one it had, so `isinstance` still holds and other objects of that class are not touched.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..distributed import require_single_process
from ..indexed import as_indices
from ..loss import check_loss, scale, scale_slices
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
    if not hasattr(base, "__dict__"):
        raise TypeError(f"a {type(base).__name__} has no room for a score: it defines __slots__")
    if "_dynaprune" in vars(base):
        raise RuntimeError(
            f"this {type(base).__name__} is scored by {base._dynaprune.name} already"
        )
    _derive(base, _State(score, vars(base).pop("scores", base.scores)))


class _State:
    """What `adopt` adds to an object."""

    def __init__(self, score: Score, scores: Tensor) -> None:
        self.score = score
        self.scores = scores  # the object's own tensor, on its own device
        self.is_started = False  # whether they are more than what the object began with
        self.record = LossRecord()
        self._written: Tensor | None = None  # the scores as they were written here last
        self._read_at = -1  # how many visits they are of, beside those that are folded for good

    @property
    def name(self) -> str:
        return type(self.score).__name__

    def fold(self) -> None:
        """Write the scores, with all that was reported.

        A score that compares batches with each other needs many of them: it is shown what there is
        in a copy, and keeps it for good once it makes an epoch.
        """
        visits = self.record.num_visits
        if visits in (0, self._read_at):
            return
        if self.is_started and (self._written is None or not self.scores.equal(self._written)):
            self.score.restore(self.scores)  # they are the object's: it may have written to them
        is_kept = not self.score.compares_batches or visits >= self.score.num_samples
        batches = self.record.batches().finite()
        score = self.score if is_kept else copy.deepcopy(self.score)
        score.fold(batches)
        if len(batches) > 0:
            self.is_started = True
            self.scores.copy_(score.values())
            self._written = self.scores.clone()
        self._read_at = visits
        if is_kept:
            self.record, self._read_at = LossRecord(), -1


def _read_scores(base: Any) -> Tensor:
    """The scores, shape (N,), with all that was reported so far."""
    base._dynaprune.fold()
    scores: Tensor = base._dynaprune.scores
    return scores


def _write_scores(base: Any, scores: Tensor) -> None:
    """Replace the scores, as a resumed run does: what was reported before is of no more use."""
    state: _State = base._dynaprune
    state.scores, state.is_started, state.record = scores, True, LossRecord()
    state._written, state._read_at = None, -1


def _update(base: Any, loss: Tensor) -> Tensor:
    """Score the batch at hand by its loss and return the loss, rescaled by its weights.

    Arguments:
        base: the object.
        loss: the batch's mean loss, of one element; a loss vector of shape (B,); or the mean losses
            of C slices of the batch, of shape (C,).

    Raises:
        RuntimeError: there is no batch at hand, or the loss has the wrong shape.
    """
    state: _State = base._dynaprune
    require_single_process(f"{state.name}.proxy() on a {type(base).__name__}")
    if base.cur_batch_index is None or len(base.cur_batch_index) == 0:
        raise RuntimeError(
            f"update() was called without a batch at hand: cur_batch_index of this "
            f"{type(base).__name__} is empty. Call it once for each batch, after the loader "
            "has set cur_batch_index"
        )
    positions = as_indices(base.cur_batch_index, f"cur_batch_index of this {type(base).__name__}")
    weights = base.weights[positions.to(base.weights.device)]
    check_loss(loss, len(positions), state.score)
    if loss.numel() > 1:
        scaled = scale_slices(loss, weights, len(positions))
    else:
        on_host = weights.device.type == "cpu"
        scaled = scale(loss, float(weights.mean()) if on_host else weights.mean())
    base.cur_batch_index = []
    state.record.append(positions, loss)
    # some of these objects stop reading their scores late in a run: keep the record bounded
    if state.record.num_visits >= state.score.num_samples:
        state.fold()
    return scaled


def _reduce(base: Any, protocol: Any) -> Any:
    """Say how to pickle and copy an object whose class exists in no module."""
    original: Any = type(base).__base__
    # object has a __getstate__ of its own from Python 3.11 on
    own = getattr(original, "__getstate__", None)
    values = vars(base) if own in (None, getattr(object, "__getstate__", None)) else own(base)
    if isinstance(values, dict):
        values = {key: value for key, value in values.items() if key != "_dynaprune"}
    return _rebuild, (original, values, base._dynaprune)


def _rebuild(original: type, values: Any, state: _State) -> Any:
    base: Any = object.__new__(original)
    if hasattr(original, "__setstate__"):
        base.__setstate__(values)
    else:
        vars(base).update(values)
    _derive(base, state)
    return base


def _derive(base: Any, state: _State) -> None:
    """Make the class of one object a subclass of what it was, with what is replaced."""
    original = type(base)
    # not by a mix-in class: an object's class can only be replaced by one of the same layout
    replaced = {
        "__doc__": original.__doc__,
        "__module__": original.__module__,
        "__reduce_ex__": _reduce,
        "scores": property(_read_scores, _write_scores),
        "update": _update,
    }
    base.__class__ = type(original.__name__, (original,), replaced)
    base._dynaprune = state
